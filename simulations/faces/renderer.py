"""Draw a face as the aligned crop that a photograph of it would give.

The head is painted upright in face units, turned by parallax over its relief, and then brought to the five-point
template by the similarity that an aligner would fit to the turned landmarks. Wide-set eyes therefore appear as
they do after alignment: the rest of the face becomes smaller.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from common.faces.align import TEMPLATE
from common.seeding import generator
from simulations.faces.canvas import LEFT, SIDE, TOP, Canvas
from simulations.faces.contours import ear, outline
from simulations.faces.eyes import brow_line, lids, paint_brows, paint_eyes, tint
from simulations.faces.face import Face
from simulations.faces.geometry import Geometry, five_points, measure
from simulations.faces.head import paint_back_hair, paint_ears, paint_hair, paint_neck
from simulations.faces.mouth import lips, paint_mouth, paint_nose
from simulations.faces.relief import Field, gaussians, relief, shade

Crop = NDArray[np.uint8]

_OVERSAMPLING = 2.0  # canvas pixels a crop pixel, in each direction
_STEP = SIDE / 112  # relief cell, face units


def render(face: Face, *, size: int = 112) -> Crop:
    """The aligned crop of a face: (size, size, 3) uint8 RGB, before any camera effect."""
    return render_with_landmarks(face, size=size)[0]


def render_with_landmarks(face: Face, *, size: int = 112) -> tuple[Crop, NDArray[np.float64]]:
    """The crop as ``render`` gives it, and its eyes, nose tip and mouth corners, (5, 2) pixels of the crop."""
    g = geometry(face)
    canvas = Canvas(_OVERSAMPLING * size / 112, face.view.backdrop)
    height = relief(g, *Canvas.grid(_STEP))
    _paint(canvas, face, g, height)
    a, b = _alignment(face, g, height)
    points = _to_crop(_turn(np.array(five_points(g)), face, height), a, b)
    return _photograph(canvas, face, height, (a, b), size), points * (size / 112)


def geometry(face: Face) -> Geometry:
    """The measures of the face with the expression of its view."""
    return measure(
        face.traits,
        age_years=face.age_years,
        male=face.sex == "male",
        smile=face.view.smile,
        opening=face.view.opening,
    )


def landmarks(face: Face) -> dict[str, NDArray[np.float64]]:
    """Where named points lie in the crop at size 112: name -> (n, 2) x, y pixels.

    ``eyes``: pupils; ``five``: the five template points; ``chin``, ``vertex``, ``nasion``, ``nose_tip``,
    ``subnasale``: one point; ``mouth``: corners; ``outline``, ``ear_left``, ``ear_right``,
    ``upper_lid_left``, ...: contours.
    """
    g = geometry(face)
    upper, inner_up, inner_low, lower = lips(g)
    points = {
        "five": np.array(five_points(g)),
        "eyes": np.array(five_points(g)[:2]),
        "mouth": np.array(five_points(g)[3:]),
        "nasion": np.array([(0.0, g.nasion_y)]),
        "nose_tip": np.array([(0.0, g.tip_y)]),
        "subnasale": np.array([(0.0, g.subnasale_y)]),
        "alae": np.array([(-g.ala_half, g.tip_y + 2.0), (g.ala_half, g.tip_y + 2.0)]),
        "chin": np.array([(0.0, g.chin_y)]),
        "vertex": np.array([(0.0, g.vertex_y)]),
        "hairline": np.array([(0.0, g.hairline_y)]),
        "outline": outline(g),
        "upper_lip": upper,
        "upper_lip_inner": inner_up,
        "lower_lip_inner": inner_low,
        "lower_lip": lower,
    }
    for name, side in (("left", -1), ("right", 1)):
        points[f"ear_{name}"] = ear(g, side)
        points[f"upper_lid_{name}"], points[f"lower_lid_{name}"] = lids(g, side, face.view.blink)
        points[f"brow_{name}"] = brow_line(g, side)
    height = relief(g, *Canvas.grid(_STEP))
    a, b = _alignment(face, g, height)
    return {name: _to_crop(_turn(place, face, height), a, b) for name, place in points.items()}


def _paint(canvas: Canvas, face: Face, g: Geometry, height: Field) -> None:
    view, skin = face.view, face.appearance.skin
    fall = np.linspace(1 + view.backdrop_fall, 1 - view.backdrop_fall, canvas.side, dtype=np.float32)
    canvas.pixels *= fall[None, :, None]
    azimuth, elevation, strength, ambience = view.light
    level = ambience + (1.05 - ambience) * strength * 0.82
    lit_skin = tint(skin, level)
    paint_back_hair(canvas, face, g)
    paint_neck(canvas, face, g, lit_skin)
    paint_ears(canvas, g, lit_skin)
    _paint_skin(canvas, face, g, shade(height, azimuth, elevation, strength, ambience))
    paint_nose(canvas, face, g, lit_skin)
    paint_mouth(canvas, face, g, lit_skin)
    paint_eyes(canvas, face, g, lit_skin)
    paint_brows(canvas, face, g, lit_skin)
    paint_hair(canvas, face, g)


def _paint_skin(canvas: Canvas, face: Face, g: Geometry, brightness: Field) -> None:
    """The face and forehead: shaded skin, redder where it is thin, with its own fine mottling."""
    x, y = canvas.grid(_STEP)
    look = face.appearance
    random = generator(look.texture_seed, "skin")
    mottle = cv2.resize(random.standard_normal((40, 40), dtype=np.float32), (len(x), len(y)))
    brightness = brightness * (1.0 + 0.012 * mottle)
    if face.sex == "male" and face.age_years > 16:
        stubble = gaussians([(0, g.lip_bottom_y + 4, 24, 10, 0.1 * (1 - 0.6 * look.melanin))], x, y)
        brightness = brightness * (1.0 - stubble)
    rosy = (1 - 0.7 * look.melanin) * (0.8 + 0.5 * g.child)
    places = [(22, 19, 8, 6.5, rosy), (0, g.tip_y, 4.5, 4, 0.7 * rosy), (0, g.chin_y, 9, 4, 0.4 * rosy)]
    flush = gaussians(places, x, y)
    shadow = np.maximum(1.0 - brightness, 0.0) * (1 - 0.5 * look.melanin)
    if look.freckles > 0.3:
        dots = cv2.resize(random.standard_normal((90, 90), dtype=np.float32), (len(x), len(y)))
        brightness -= np.maximum(dots - 1.1, 0) * gaussians([(14, 14, 13, 8, 0.16 * look.freckles)], x, y)
    planes = [
        cv2.resize(base * brightness + warm * shadow + red * flush, (canvas.side, canvas.side))
        for base, warm, red in zip(look.skin, (26, 4, -4), (6, -9, -8), strict=True)
    ]
    canvas.cover(planes, canvas.mask(outline(g)))


def _turn(points: NDArray[np.float64], face: Face, height: Field) -> NDArray[np.float64]:
    """Where points on the face appear when the head turns by the view's yaw and pitch."""
    cells = ((points - (LEFT, TOP)) / _STEP - 0.5).astype(np.float32)
    depth = cv2.remap(height, cells[None, :, 0], cells[None, :, 1], cv2.INTER_LINEAR)[0]
    return np.asarray(points + np.stack([face.view.yaw * depth, face.view.pitch * depth], 1))


def _alignment(face: Face, g: Geometry, height: Field) -> tuple[complex, complex]:
    """The similarity w -> a w + b (complex) from turned face units to crop pixels, as an aligner would fit it."""
    seen = _turn(np.array(five_points(g)), face, height) + np.asarray(face.view.landmark_error)
    w, z = seen[:, 0] + 1j * seen[:, 1], TEMPLATE[:, 0] + 1j * TEMPLATE[:, 1]
    wc, zc = w - w.mean(), z - z.mean()
    a = complex((wc.conj() @ zc) / (wc.conj() @ wc).real)
    return a, complex(z.mean() - a * w.mean())


def _to_crop(points: NDArray[np.float64], a: complex, b: complex) -> NDArray[np.float64]:
    z = a * (points[:, 0] + 1j * points[:, 1]) + b
    return np.stack([z.real, z.imag], 1)


def _photograph(canvas: Canvas, face: Face, height: Field, alignment: tuple[complex, complex], size: int) -> Crop:
    """Turn, align and bring down to ``size``, averaging several samples a pixel."""
    a, b = alignment
    fine = round(_OVERSAMPLING * size)
    cells = (np.arange(64, dtype=np.float32) + 0.5) * (112 / 64)
    back = 1 / a
    u = (back.real * (cells[None, :] - b.real) - back.imag * (cells[:, None] - b.imag)).astype(np.float32)
    v = (back.imag * (cells[None, :] - b.real) + back.real * (cells[:, None] - b.imag)).astype(np.float32)
    turned = face.view.yaw or face.view.pitch
    if turned:
        # Which point of the upright face is seen here: two steps of a fixed-point iteration.
        su, sv = u, v
        for _ in range(2):
            depth = cv2.remap(height, (su - LEFT) / _STEP - 0.5, (sv - TOP) / _STEP - 0.5, cv2.INTER_LINEAR)
            su, sv = u - np.float32(face.view.yaw) * depth, v - np.float32(face.view.pitch) * depth
        u, v = su, sv
    columns = cv2.resize((u - LEFT) * np.float32(canvas.scale) - 0.5, (fine, fine), interpolation=cv2.INTER_LINEAR)
    rows = cv2.resize((v - TOP) * np.float32(canvas.scale) - 0.5, (fine, fine), interpolation=cv2.INTER_LINEAR)
    picture = canvas.picture()
    seen = cv2.remap(picture, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.resize(seen, (size, size), interpolation=cv2.INTER_AREA), np.uint8)
