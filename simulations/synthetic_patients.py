"""One synthetic patient: which terms show and how strongly, the person, the photos, the record."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.cohort.schema import Consent, Patient, Photo, Purpose
from common.seeding import generator
from common.storage import sha256_bytes
from simulations.faces.camera import Camera, sample_camera
from simulations.faces.hpo import TERMS, shift_of
from simulations.faces.people import Person, sample_person, take_photo
from simulations.faces.syndromes import FacialSyndrome
from simulations.synthetic_spec import SyntheticSpec

Crops = NDArray[np.uint8]
EVERY_PURPOSE = Consent(purposes=frozenset(Purpose))


def draw_patient(
    spec: SyntheticSpec, seed: int, patient_id: str, syndrome: FacialSyndrome, number: int, silo: str
) -> tuple[Patient, dict[str, Crops]]:
    """Patient number ``number`` of a syndrome, and the crops of their photos by photo id."""
    random = generator(seed, "person", syndrome.omim, number)
    severity = spec.severity * float(np.exp(random.normal(0, 0.15)))
    shown, absent = _terms(random, syndrome, severity, spec.penetrance)
    # A site that draws its own cases also serves its own population.
    melanin = None
    if spec.case_mix == "site":
        mean = generator(seed, "population", silo).uniform(0.15, 0.7)
        tone = generator(seed, "skin tone", syndrome.omim, number)
        melanin = float(tone.beta(4 * mean, 4 * (1 - mean)))
    person = sample_person(
        random,
        shift=shift_of(shown),
        melanin=melanin,
        spread=spec.identity_spread,
        ages=(0.5, 30.0),
        male_share=syndrome.male_share,
    )
    count = 1 + int(random.binomial(4, (spec.photos_per_patient - 1) / 4))
    camera = silo_camera(spec, seed, silo)
    photos: list[Photo] = []
    crops: dict[str, Crops] = {}
    for place in range(count):
        moment = generator(seed, "photo", syndrome.omim, number, place)
        photo, crop = _draw_photo(person, camera, moment, place, patient_id)
        photos.append(photo)
        crops[photo.id] = crop
    patient = Patient(
        id=patient_id,
        photos=tuple(photos),
        syndrome=syndrome.identifier,
        hpo_present=tuple(sorted(shown)),
        hpo_absent=tuple(sorted(absent)),
        age_years=round(person.age_years, 1),
        sex=person.sex,
        ancestry="synthetic",
        consent=EVERY_PURPOSE,
    )
    return patient, crops


def _draw_photo(
    person: Person, camera: Camera, moment: np.random.Generator, place: int, patient_id: str
) -> tuple[Photo, Crops]:
    # The patient's age is that of the last photo; earlier photos show them younger.
    age = person.age_years if place == 0 else person.age_years * float(np.exp(-abs(moment.normal(0, 0.25))))
    crop, points = take_photo(person, moment, camera, age_years=age)
    name = f"{patient_id}-{place + 1}"
    eye_left, eye_right, nose, mouth_left, mouth_right = ((float(x), float(y)) for x, y in points)
    photo = Photo(
        id=name,
        path=Path("synthetic") / f"{name}.png",
        sha256=sha256_bytes(crop.tobytes()),
        source="synthetic",
        landmarks=(eye_left, eye_right, nose, mouth_left, mouth_right),
    )
    return photo, crop


def _terms(
    random: np.random.Generator, syndrome: FacialSyndrome, severity: float, penetrance: float
) -> tuple[dict[str, float], set[str]]:
    """Terms shown, each with its strength, and terms looked for in vain; a few are not the syndrome's."""
    shown, absent = {}, set()
    for term, share in syndrome.frequency.items():
        if random.random() < share * penetrance:
            shown[term] = severity * float(np.exp(random.normal(0, 0.2)))
        else:
            absent.add(term)
    others = [term for term in TERMS if term not in syndrome.frequency]
    for place in random.choice(len(others), 4, replace=False):
        if random.random() < 0.1:
            shown[others[place]] = float(np.exp(random.normal(-0.3, 0.2)))
        else:
            absent.add(others[place])
    return shown, absent


def silo_camera(spec: SyntheticSpec, seed: int, silo: str) -> Camera:
    """The camera of a silo."""
    return sample_camera(generator(seed, "camera", silo), spread=spec.camera_spread)
