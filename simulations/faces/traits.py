"""The named geometric traits that a procedural face is made of.

A trait value counts standard deviations of the unaffected population: 0 is average, identity alone moves it by
N(0, 1), and a syndrome adds shifts. Traits marked ``one_sided`` describe a finding that most faces lack
(an epicanthic fold, a drooping lid); only values above about 1 show it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

LIMIT = 4.5  # beyond this, lids and lips would cross


@dataclass(frozen=True)
class Trait:
    """One axis of variation: what grows when its value does, and in which part of the face."""

    name: str
    meaning: str
    region: str
    one_sided: bool = False


TRAITS: tuple[Trait, ...] = (
    Trait("eye_spacing", "distance between the eyes", "eyes"),
    Trait("fissure_slant", "outer corners of the eyes higher than the inner ones", "eyes"),
    Trait("fissure_length", "width of the eye opening", "eyes"),
    Trait("fissure_height", "height of the eye opening", "eyes"),
    Trait("eye_depth", "eyes set deep under the brow (below 0: prominent)", "eyes"),
    Trait("epicanthus", "skin fold over the inner corner of the eye", "eyes", one_sided=True),
    Trait("ptosis", "drooping upper lid", "eyes", one_sided=True),
    Trait("lid_eversion", "outer part of the lower lid turned out or notched", "eyes", one_sided=True),
    Trait("periorbital_fullness", "puffy tissue around the eyes", "eyes", one_sided=True),
    Trait("lash_length", "length of the eyelashes", "eyes", one_sided=True),
    Trait("strabismus", "eyes that do not point the same way", "eyes", one_sided=True),
    Trait("brow_height", "distance from eye to eyebrow", "brows"),
    Trait("brow_thickness", "height and density of the eyebrow", "brows"),
    Trait("brow_arch", "arch of the eyebrow", "brows"),
    Trait("brow_lateral_loss", "missing outer third of the eyebrow", "brows", one_sided=True),
    Trait("synophrys", "eyebrows that meet in the middle", "brows", one_sided=True),
    Trait("bridge_height", "projection of the nasal bridge (below 0: depressed)", "nose"),
    Trait("bridge_width", "width of the nasal bridge", "nose"),
    Trait("nose_length", "length from bridge to tip", "nose"),
    Trait("nose_width", "width between the alae", "nose"),
    Trait("tip_width", "breadth and bulk of the nasal tip", "nose"),
    Trait("nares_anteversion", "nostrils turned to the front", "nose"),
    Trait("columella", "columella hanging below the alae", "nose", one_sided=True),
    Trait("philtrum_length", "distance from nose to upper lip", "mouth"),
    Trait("philtrum_depth", "relief of the philtral groove (below 0: smooth)", "mouth"),
    Trait("mouth_width", "distance between the corners of the mouth", "mouth"),
    Trait("upper_lip", "height of the upper vermilion", "mouth"),
    Trait("lower_lip", "height of the lower vermilion", "mouth"),
    Trait("cupid_bow", "peaks of the upper lip: tented, exaggerated bow", "mouth"),
    Trait("mouth_corners", "corners of the mouth turned up (below 0: down)", "mouth"),
    Trait("mouth_opening", "mouth held open", "mouth", one_sided=True),
    Trait("teeth_spacing", "gaps between the teeth, seen when the mouth is open", "mouth", one_sided=True),
    Trait("chin_length", "height and projection of the chin (below 0: micrognathia)", "jaw"),
    Trait("chin_point", "pointed chin", "jaw"),
    Trait("jaw_width", "width of the face at the mouth", "jaw"),
    Trait("face_width", "width of the face at the cheekbones", "outline"),
    Trait("face_length", "height of the face for its width", "outline"),
    Trait("malar", "projection of the cheekbones (below 0: hypoplasia)", "cheeks"),
    Trait("cheek_fullness", "soft, full cheeks", "cheeks"),
    Trait("forehead_height", "height of the forehead", "forehead"),
    Trait("forehead_width", "breadth of the forehead and the temples", "forehead"),
    Trait("frontal_bossing", "bulging forehead", "forehead"),
    Trait("hairline", "height of the front hairline (below 0: low)", "forehead"),
    Trait("hair_density", "density and volume of the hair", "hair"),
    Trait("ear_position", "height of the ears (below 0: low-set)", "ears"),
    Trait("ear_size", "size of the ears", "ears"),
    Trait("ear_protrusion", "ears that stand off the head", "ears"),
    Trait("facial_coarseness", "heavy folds and thick soft tissue", "skin", one_sided=True),
    Trait("asymmetry", "difference between the halves of the face", "outline", one_sided=True),
)

NAMES: tuple[str, ...] = tuple(trait.name for trait in TRAITS)
_INDEX = {name: number for number, name in enumerate(NAMES)}


def vector(values: Mapping[str, float]) -> Vector:
    """``(len(TRAITS),)`` float64 with the named values, 0 elsewhere; KeyError for an unknown trait."""
    result = np.zeros(len(NAMES))
    for name, value in values.items():
        result[_INDEX[name]] = value
    return result


def as_mapping(values: Vector) -> dict[str, float]:
    """The vector by trait name, each value held within +-LIMIT."""
    return dict(zip(NAMES, np.clip(values, -LIMIT, LIMIT).tolist(), strict=True))


def sample_identity(random: np.random.Generator, spread: float = 1.0) -> Vector:
    """The trait values of an unaffected person: N(0, spread) on every axis."""
    return random.normal(0.0, spread, len(NAMES))
