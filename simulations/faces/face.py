"""What a procedural photograph shows: a person (traits, colours, age) in one moment (pose, expression, light)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

Rgb = tuple[float, float, float]
HairStyle = Literal["short", "crop", "parted", "fringe", "long", "curly", "bald"]

# Lightest to darkest, sRGB.
_SKIN = np.array(
    [
        (248, 219, 200),
        (238, 198, 170),
        (219, 172, 136),
        (190, 138, 100),
        (146, 98, 68),
        (98, 64, 47),
    ],
    dtype=np.float64,
)
_HAIR: dict[str, Rgb] = {
    "black": (34, 28, 27),
    "dark brown": (62, 42, 31),
    "brown": (98, 68, 46),
    "light brown": (139, 103, 70),
    "blond": (199, 165, 112),
    "red": (150, 76, 41),
    "grey": (168, 164, 160),
}
_IRIS: dict[str, Rgb] = {
    "dark brown": (52, 33, 24),
    "brown": (92, 58, 34),
    "hazel": (118, 94, 52),
    "green": (98, 118, 82),
    "blue": (98, 132, 160),
    "grey": (120, 130, 134),
}


@dataclass(frozen=True)
class Appearance:
    """The colours and hair of a person. ``melanin`` in [0, 1]; colours are sRGB 0..255."""

    melanin: float = 0.25
    skin: Rgb = (232, 190, 160)
    hair: Rgb = (98, 68, 46)
    iris: Rgb = (92, 58, 34)
    style: HairStyle = "short"
    freckles: float = 0.0
    texture_seed: int = 0


@dataclass(frozen=True)
class View:
    """One moment: pose, expression, light, backdrop.

    ``yaw`` and ``pitch`` are sines of the head's rotation; ``landmark_error`` is what the alignment gets wrong,
    crop pixels for each of the five points; ``light`` is (azimuth, elevation, strength, ambience) in radians
    and fractions.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    landmark_error: tuple[tuple[float, float], ...] = ((0.0, 0.0),) * 5
    smile: float = 0.0
    opening: float = 0.0
    blink: float = 0.0
    gaze: tuple[float, float] = (0.0, 0.0)
    light: tuple[float, float, float, float] = (0.3, 0.7, 1.0, 0.5)
    backdrop: Rgb = (150, 165, 180)
    backdrop_fall: float = 0.1
    shirt: Rgb = (90, 110, 140)


@dataclass(frozen=True)
class Face:
    """A person in a moment. ``traits``: trait name -> standard deviations, missing names are 0."""

    traits: Mapping[str, float] = field(default_factory=dict)
    appearance: Appearance = field(default_factory=Appearance)
    view: View = field(default_factory=View)
    age_years: float = 25.0
    sex: Literal["female", "male"] = "female"


def sample_appearance(
    random: np.random.Generator, *, melanin: float | None = None, sex: str = "female"
) -> Appearance:
    """Colours and hair of a person; lighter hair and eyes occur where the skin is light."""
    drawn = float(random.beta(1.1, 1.6))
    tone = drawn if melanin is None else melanin
    place = tone * (len(_SKIN) - 1)
    low = min(int(place), len(_SKIN) - 2)
    skin = _SKIN[low] + (place - low) * (_SKIN[low + 1] - _SKIN[low]) + random.normal(0, 4, 3)
    light = max(0.0, 1.0 - tone / 0.4)
    hair_odds = np.array(
        [0.12 + 2.5 * tone, 0.5 + tone, 0.6 * light + 0.1, 0.6 * light, 0.6 * light, 0.16 * light]
    )
    hair = list(_HAIR.values())[: len(hair_odds)][
        int(random.choice(len(hair_odds), p=hair_odds / hair_odds.sum()))
    ]
    iris_odds = np.array([0.2 + 2.5 * tone, 0.9, 0.3 * light + 0.03, 0.35 * light, 0.9 * light, 0.25 * light])
    iris = list(_IRIS.values())[int(random.choice(len(iris_odds), p=iris_odds / iris_odds.sum()))]
    styles: tuple[HairStyle, ...] = ("short", "crop", "parted", "fringe", "long", "curly")
    style_odds = (
        np.array([0.1, 0.02, 0.22, 0.2, 0.31, 0.15])
        if sex == "female"
        else np.array([0.42, 0.18, 0.15, 0.12, 0.01, 0.12])
    )
    style = styles[int(random.choice(len(styles), p=style_odds))]
    return Appearance(
        melanin=tone,
        skin=_rgb(skin),
        hair=_rgb(np.asarray(hair) * random.uniform(0.8, 1.2) + random.normal(0, 3, 3)),
        iris=_rgb(np.asarray(iris) * random.uniform(0.85, 1.2)),
        style=style,
        freckles=float(random.random() ** 3 * light),
        texture_seed=int(random.integers(1 << 31)),
    )


def sample_view(random: np.random.Generator, *, backdrop: Rgb | None = None) -> View:
    """Pose, expression, light and backdrop of one photograph."""
    wall = random.uniform(60, 225) + random.normal(0, 14, 3) if backdrop is None else np.asarray(backdrop)
    return View(
        yaw=float(np.clip(random.normal(0, 0.11), -0.3, 0.3)),
        pitch=float(np.clip(random.normal(0, 0.07), -0.2, 0.2)),
        landmark_error=tuple((float(x), float(y)) for x, y in random.normal(0, 0.7, (5, 2))),
        smile=float(np.clip(random.normal(0.25, 0.5), -0.6, 1.5)),
        opening=float(max(0.0, random.normal(-0.35, 0.5))),
        blink=float(max(0.0, random.normal(-0.1, 0.18))),
        gaze=(float(random.normal(0, 0.35)), float(random.normal(0, 0.2))),
        light=(
            float(random.normal(0, 0.75)),
            float(random.uniform(0.2, 1.1)),
            float(random.uniform(0.75, 1.15)),
            float(random.uniform(0.35, 0.65)),
        ),
        backdrop=_rgb(wall + random.normal(0, 8, 3)),
        backdrop_fall=float(random.normal(0, 0.15)),
        shirt=_rgb(random.uniform(20, 235, 3)),
    )


def _rgb(values: object) -> Rgb:
    red, green, blue = np.clip(np.asarray(values, dtype=np.float64), 4, 251).tolist()
    return (red, green, blue)


def of_age(appearance: Appearance, random: np.random.Generator, age_years: float) -> Appearance:
    """The same person with the hair of their age: thin and short in infants, greying from about 45."""
    if age_years < 1.0 and random.random() < 0.5:
        return replace(appearance, style="bald")
    if age_years < 3.0 and appearance.style in ("long", "parted"):
        return replace(appearance, style="short")
    if age_years > 45:
        share = min(1.0, (age_years - 45) / 25)
        grey = _HAIR["grey"]
        hair = _rgb([a + share * (b - a) for a, b in zip(appearance.hair, grey, strict=True)])
        return replace(appearance, hair=hair)
    return appearance
