"""From trait values and age to the measures and landmarks of a face.

Face units: one unit is one pixel of an average 112 x 112 crop. The origin lies between the pupils, x grows to the
image's right, y downwards, z (relief) towards the camera.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from simulations.faces.traits import TRAITS

Point = tuple[float, float]


@dataclass(frozen=True)
class Geometry:
    """Measures in face units. ``t`` keeps the trait values; ``child`` is 1 in a newborn, 0 in an adult."""

    t: Mapping[str, float]
    child: float
    age: float
    eye_x: float
    eye_half_width: float
    lid_up: float
    lid_low: float
    slant: float
    iris: float
    brow_y: float
    nasion_y: float
    tip_y: float
    subnasale_y: float
    ala_half: float
    lip_top_y: float
    mouth_y: float
    lip_bottom_y: float
    mouth_half: float
    corner_drop: float
    opening: float
    chin_y: float
    chin_shape: float
    jaw_half: float
    cheek_half: float
    temple_half: float
    brow_half: float
    vertex_y: float
    hairline_y: float
    ear_y: float
    ear_height: float
    ear_width: float


def excess(value: float, start: float = 0.8) -> float:
    """How far a one-sided trait shows: 0 below ``start`` SD, then linear."""
    return max(0.0, value - start)


def measure(
    traits: Mapping[str, float], *, age_years: float, male: bool, smile: float = 0.0, opening: float = 0.0
) -> Geometry:
    """The measures of a face with those traits, at that age, with that expression."""
    t = {trait.name: float(traits.get(trait.name, 0.0)) for trait in TRAITS}
    child = math.exp(-age_years / 7.0)
    man = float(male) * (1.0 - math.exp(-max(0.0, age_years - 9.0) / 5.0))
    lower = 1.0 - 0.13 * child  # the lower face grows last
    stretch = 1.0 + 0.032 * t["face_length"]

    tip_y = (19.4 + 1.25 * t["nose_length"] - 0.25 * t["nares_anteversion"]) * (1.0 - 0.12 * child)
    subnasale_y = tip_y + 5.2 + 0.15 * t["tip_width"] - 0.35 * t["nares_anteversion"]
    philtrum = max(3.2, (7.6 + 1.15 * t["philtrum_length"]) * lower - 0.7 * smile)
    upper = 3.3 * math.exp(0.27 * t["upper_lip"]) * (1.0 - 0.12 * smile)
    low = 4.6 * math.exp(0.24 * t["lower_lip"]) * (1.0 - 0.08 * smile)
    gap = 3.2 * max(0.0, opening) + 1.15 * excess(t["mouth_opening"], 0.5)
    lip_top_y = subnasale_y + philtrum * stretch
    mouth_y = lip_top_y + upper
    lip_bottom_y = mouth_y + gap + low
    chin = (13.4 + 1.55 * t["chin_length"] + 0.7 * man) * lower
    chin_y = lip_bottom_y - 0.55 * gap + max(5.0, chin) * stretch
    cheek = (38.0 + 1.15 * t["face_width"]) * (1.0 + 0.03 * child)
    jaw = 30.0 + 1.2 * t["jaw_width"] + 0.7 * t["face_width"] + 1.2 * man + 0.9 * t["cheek_fullness"]
    temple = 36.2 + 1.2 * t["forehead_width"] + 0.5 * t["face_width"] + 0.9 * child
    vertex = -(62.0 + 1.8 * t["forehead_height"] + 3.5 * child + 0.5 * t["frontal_bossing"]) * stretch
    hairline = -(37.5 + 1.5 * t["forehead_height"] + 2.1 * t["hairline"] + 2.0 * child) * stretch
    prominent = -min(0.0, t["eye_depth"])
    droop = excess(t["ptosis"])
    lid_up = 3.6 * math.exp(0.15 * t["fissure_height"]) * (1 + 0.12 * child + 0.05 * prominent) - 0.5 * droop
    return Geometry(
        t=t,
        child=child,
        age=age_years,
        eye_x=17.3 + 1.1 * t["eye_spacing"],
        eye_half_width=max(4.6, 7.4 + 0.5 * t["fissure_length"]) * (1 + 0.02 * child),
        lid_up=max(1.0, lid_up - 0.35 * smile),
        lid_low=max(0.9, 2.3 * math.exp(0.08 * t["fissure_height"]) + 0.12 * prominent - 0.45 * max(0.0, smile)),
        slant=0.035 + 0.08 * t["fissure_slant"],
        iris=3.75 * (1 + 0.05 * child),
        brow_y=-9.4 - 0.75 * t["brow_height"] + 0.25 * t["eye_depth"] + 0.9 * man - 0.8 * child,
        nasion_y=-2.5,
        tip_y=tip_y,
        subnasale_y=subnasale_y,
        ala_half=max(5.5, 9.2 + 0.68 * t["nose_width"] + 0.25 * t["tip_width"] + 0.5 * man) * (1 - 0.05 * child),
        lip_top_y=lip_top_y,
        mouth_y=mouth_y,
        lip_bottom_y=lip_bottom_y,
        mouth_half=max(7.5, 14.2 + 1.3 * t["mouth_width"] + 1.8 * smile) * (1.0 - 0.07 * child),
        corner_drop=-0.75 * t["mouth_corners"] - 1.7 * smile,
        opening=gap,
        chin_y=chin_y,
        chin_shape=min(0.95, max(0.32, 0.52 + 0.075 * t["chin_point"] - 0.05 * man - 0.05 * child)),
        jaw_half=jaw - 0.6 * t["chin_point"],
        cheek_half=cheek + 0.35 * t["malar"],
        temple_half=temple,
        brow_half=0.5 * (temple + cheek) + 0.2,
        vertex_y=vertex,
        hairline_y=min(hairline, -20.0),
        ear_y=9.5 - 2.2 * t["ear_position"],
        ear_height=27.0 * math.exp(0.105 * t["ear_size"]) * (1 - 0.06 * child),
        ear_width=6.4 * math.exp(0.06 * t["ear_size"] + 0.17 * t["ear_protrusion"]),
    )


def five_points(g: Geometry) -> tuple[Point, Point, Point, Point, Point]:
    """Eyes, nose tip, mouth corners in face units: what a landmark detector finds, image left to right."""
    corner = g.mouth_y + g.corner_drop + 0.4 * g.opening
    return (
        (-g.eye_x, 0.0),
        (g.eye_x, 0.0),
        (0.0, g.tip_y),
        (-g.mouth_half, corner),
        (g.mouth_half, corner),
    )
