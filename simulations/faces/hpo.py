"""Facial terms of the Human Phenotype Ontology and what each does to the traits of a drawn face.

Shifts are standard deviations of the unaffected population, as the definitions of measurable terms ask for about
two. A term that groups several findings (midface retrusion, coarse features) moves several traits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from simulations.faces.traits import NAMES, Vector, vector


@dataclass(frozen=True)
class FacialTerm:
    """One HPO term. ``shift``: (trait, standard deviations) pairs."""

    id: str
    label: str
    shift: tuple[tuple[str, float], ...]

    def vector(self) -> Vector:
        """The shift of every trait, (len(traits.NAMES),)."""
        return vector(dict(self.shift))


def _term(number: str, label: str, **shift: float) -> FacialTerm:
    return FacialTerm(f"HP:{number}", label, tuple(shift.items()))


_ALL = (
    # Eyes and lids.
    _term("0000316", "Hypertelorism", eye_spacing=2.6),
    _term("0000601", "Hypotelorism", eye_spacing=-2.4),
    _term("0000506", "Telecanthus", eye_spacing=1.2, fissure_length=-1.6, epicanthus=1.2),
    _term("0000582", "Upslanted palpebral fissure", fissure_slant=2.4),
    _term("0000494", "Downslanted palpebral fissures", fissure_slant=-2.4),
    _term("0000637", "Long palpebral fissure", fissure_length=2.8),
    _term("0012745", "Short palpebral fissure", fissure_length=-2.6),
    _term("0000581", "Blepharophimosis", fissure_length=-2.6, fissure_height=-2.4),
    _term("0000286", "Epicanthus", epicanthus=2.8),
    _term("0000508", "Ptosis", ptosis=2.6),
    _term("0000490", "Deeply set eye", eye_depth=2.6),
    _term("0000520", "Proptosis", eye_depth=-3.2, fissure_height=1.6),
    _term("0000629", "Periorbital fullness", periorbital_fullness=3.0),
    _term("0007655", "Eversion of lateral third of lower eyelids", lid_eversion=3.0),
    _term("0000652", "Lower eyelid coloboma", lid_eversion=3.4, fissure_slant=-0.6),
    _term("0000527", "Long eyelashes", lash_length=3.0),
    _term("0000486", "Strabismus", strabismus=2.8),
    # Eyebrows.
    _term("0000574", "Thick eyebrow", brow_thickness=2.8),
    _term("0045075", "Sparse eyebrow", brow_thickness=-2.8),
    _term("0005338", "Sparse lateral eyebrow", brow_lateral_loss=3.0),
    _term("0002553", "Highly arched eyebrow", brow_arch=2.4, brow_height=1.0),
    _term("0011228", "Horizontal eyebrow", brow_arch=-2.2),
    _term("0000664", "Synophrys", synophrys=3.0),
    # Nose.
    _term("0005280", "Depressed nasal bridge", bridge_height=-2.8),
    _term("0000426", "Prominent nasal bridge", bridge_height=2.6),
    _term("0000431", "Wide nasal bridge", bridge_width=2.8),
    _term("0000446", "Narrow nasal bridge", bridge_width=-2.6),
    _term("0000444", "Convex nasal ridge", bridge_height=2.2, nose_length=1.0, nares_anteversion=-1.0),
    _term("0003189", "Long nose", nose_length=2.5),
    _term("0003196", "Short nose", nose_length=-2.4),
    _term("0000445", "Wide nose", nose_width=2.5, bridge_width=1.2),
    _term("0000460", "Narrow nose", nose_width=-2.3, bridge_width=-1.0),
    _term("0000455", "Broad nasal tip", tip_width=2.6, nose_width=0.6),
    _term("0000414", "Bulbous nose", tip_width=3.2, nose_width=1.3),
    _term("0000463", "Anteverted nares", nares_anteversion=2.8),
    _term("0000430", "Underdeveloped nasal alae", nose_width=-2.4, tip_width=-1.0),
    _term("0009765", "Low hanging columella", columella=3.2, nares_anteversion=-0.8),
    # Philtrum, mouth, lips.
    _term("0000343", "Long philtrum", philtrum_length=2.6),
    _term("0000322", "Short philtrum", philtrum_length=-2.4),
    _term("0000319", "Smooth philtrum", philtrum_depth=-3.0),
    _term("0002002", "Deep philtrum", philtrum_depth=2.8),
    _term("0000154", "Wide mouth", mouth_width=2.6),
    _term("0000160", "Narrow mouth", mouth_width=-2.5),
    _term("0000219", "Thin upper lip vermilion", upper_lip=-2.7),
    _term("0000215", "Thick upper lip vermilion", upper_lip=2.5),
    _term("0010282", "Thin lower lip vermilion", lower_lip=-2.5),
    _term("0000179", "Thick lower lip vermilion", lower_lip=2.7),
    _term("0000233", "Thin vermilion border", upper_lip=-2.3, lower_lip=-1.8),
    _term("0012471", "Thick vermilion border", upper_lip=2.2, lower_lip=2.2),
    _term("0002263", "Exaggerated cupid's bow", cupid_bow=2.6),
    _term("0010804", "Tented upper lip vermilion", cupid_bow=3.2, mouth_opening=0.8),
    _term("0002714", "Downturned corners of mouth", mouth_corners=-2.7),
    _term("0000194", "Open mouth", mouth_opening=2.8),
    _term("0000687", "Widely spaced teeth", teeth_spacing=3.0, mouth_opening=0.6),
    # Chin, jaw, cheeks, outline.
    _term("0000347", "Micrognathia", chin_length=-2.7, jaw_width=-0.8),
    _term("0000303", "Mandibular prognathia", chin_length=2.6),
    _term("0000307", "Pointed chin", chin_point=3.0, jaw_width=-0.6),
    _term("0011822", "Broad chin", chin_point=-2.6, jaw_width=1.0),
    _term("0000272", "Malar flattening", malar=-2.8),
    _term("0011800", "Midface retrusion", malar=-2.2, bridge_height=-1.2, eye_depth=-0.8, chin_length=0.6),
    _term("0000293", "Full cheeks", cheek_fullness=2.8),
    _term("0000275", "Narrow face", face_width=-2.2, jaw_width=-0.8),
    _term("0000283", "Broad face", face_width=2.2, jaw_width=0.8),
    _term("0000276", "Long face", face_length=2.6, face_width=-0.8),
    _term("0000311", "Round face", face_length=-1.6, cheek_fullness=1.8, jaw_width=1.2, chin_point=-0.8),
    _term("0000325", "Triangular face", chin_point=2.4, jaw_width=-2.2, forehead_width=1.6),
    _term("0000321", "Square face", jaw_width=2.6, chin_point=-2.2, forehead_width=0.6),
    _term(
        "0000280", "Coarse facial features", facial_coarseness=3.0, lower_lip=1.0, nose_width=1.0, tip_width=0.8
    ),
    _term("0000324", "Facial asymmetry", asymmetry=3.2),
    # Forehead, head, hair.
    _term("0000256", "Macrocephaly", forehead_height=2.0, forehead_width=1.8),
    _term("0000252", "Microcephaly", forehead_height=-2.2, forehead_width=-1.8),
    _term("0000348", "High forehead", forehead_height=2.6),
    _term("0000337", "Broad forehead", forehead_width=2.6),
    _term("0000341", "Narrow forehead", forehead_width=-2.6),
    _term("0002007", "Frontal bossing", frontal_bossing=3.0),
    _term("0011220", "Prominent forehead", frontal_bossing=2.2, forehead_height=1.0),
    _term("0000294", "Low anterior hairline", hairline=-2.7),
    _term("0009890", "High anterior hairline", hairline=2.6),
    _term("0008070", "Sparse hair", hair_density=-3.2),
    # Ears.
    _term("0000369", "Low-set ears", ear_position=-2.7),
    _term("0000400", "Macrotia", ear_size=2.7),
    _term("0008551", "Microtia", ear_size=-3.2),
    _term("0000411", "Protruding ear", ear_protrusion=2.6),
)

TERMS = MappingProxyType({term.id: term for term in _ALL})


def shift_of(terms: Mapping[str, float]) -> Vector:
    """The summed shift of HPO ids, each with its strength (1: as in the table): (len(traits.NAMES),) float64.

    Terms that move the same trait the same way do not add up without bound: a trait moves at most a third beyond
    the strongest of them. KeyError for an id outside the table.
    """
    if not terms:
        return np.zeros(len(NAMES))
    vectors = np.array([strength * TERMS[term].vector() for term, strength in terms.items()])
    total, strongest = vectors.sum(0), np.abs(vectors).max(0)
    return np.asarray(np.clip(total, -4 / 3 * strongest, 4 / 3 * strongest))
