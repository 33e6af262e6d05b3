"""People and their photos: the same traits, colours and sex from photo to photo, another moment each time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from simulations.faces.camera import Camera, photograph
from simulations.faces.face import Appearance, Face, of_age, sample_appearance, sample_view
from simulations.faces.renderer import render_with_landmarks
from simulations.faces.traits import NAMES, Vector, as_mapping, sample_identity

Crop = NDArray[np.uint8]
Sex = Literal["female", "male"]


@dataclass(frozen=True)
class Person:
    """Who somebody is. ``traits``: (len(traits.NAMES),) float64, identity and any syndrome together."""

    traits: Vector
    appearance: Appearance
    sex: Sex
    age_years: float


def sample_person(
    random: np.random.Generator,
    *,
    shift: Vector | None = None,
    melanin: float | None = None,
    spread: float = 1.0,
    ages: tuple[float, float] = (0.3, 60.0),
    male_share: float = 0.5,
) -> Person:
    """A person of random identity; ``shift`` is added to the traits. Young ages are the more frequent."""
    sex: Sex = "female" if random.random() < 1.0 - male_share else "male"
    traits = sample_identity(random, spread)
    if shift is not None:
        traits = traits + shift
    youngest, oldest = ages
    age = float(youngest * (oldest / youngest) ** random.random())
    return Person(traits, sample_appearance(random, melanin=melanin, sex=sex), sex, age)


def sample_shift(random: np.random.Generator) -> Vector:
    """Trait shifts of no named syndrome: two to nine traits by up to 3.5 SD; none for a third of people."""
    shift = np.zeros(len(NAMES))
    if random.random() < 0.33:
        return shift
    chosen = random.choice(len(NAMES), int(random.integers(2, 10)), replace=False)
    shift[chosen] = random.uniform(1.0, 3.5, len(chosen)) * random.choice([-1.0, 1.0], len(chosen))
    return shift


def take_photo(
    person: Person,
    random: np.random.Generator,
    camera: Camera,
    *,
    age_years: float | None = None,
    size: int = 112,
) -> tuple[Crop, NDArray[np.float64]]:
    """One photo of a person, (size, size, 3) uint8 RGB, and its five landmarks, (5, 2) pixels."""
    age = person.age_years if age_years is None else age_years
    face = Face(
        traits=as_mapping(person.traits),
        appearance=of_age(person.appearance, random, age),
        view=sample_view(random, backdrop=camera.backdrop),
        age_years=age,
        sex=person.sex,
    )
    crop, points = render_with_landmarks(face, size=size)
    return photograph(crop, camera, random), points
