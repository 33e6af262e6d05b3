"""Ears, neck and hair."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from common.seeding import generator
from simulations.faces.canvas import Canvas, Points, curve, ellipse
from simulations.faces.contours import ear
from simulations.faces.eyes import tint
from simulations.faces.face import Face, Rgb
from simulations.faces.geometry import Geometry

_VOLUME = {"crop": 1.2, "short": 3.0, "parted": 4.0, "fringe": 4.0, "long": 5.0, "curly": 7.0, "bald": 0.3}


def paint_ears(canvas: Canvas, g: Geometry, skin: Rgb) -> None:
    """Both ears, behind the face."""
    for side in (-1, 1):
        shape = ear(g, side)
        canvas.fill(shape, tint(skin, 0.86, (190, 90, 80), 0.12), soft=0.35)
        centre = shape.mean(0)
        inner = centre + (shape - centre) * (0.62, 0.7)
        canvas.fill(inner, tint(skin, 0.6, (120, 40, 35), 0.2), 0.55, soft=1.0)
        ridge = centre + (shape - centre) * (0.4, 0.45) + (side * 0.3, -0.5)
        canvas.fill(ridge, tint(skin, 0.9, (190, 90, 80), 0.1), 0.6, soft=0.8)
        canvas.strokes(
            [np.concatenate([shape, shape[:1]])], tint(skin, 0.55, (80, 25, 20), 0.2), 0.6, 0.4, soft=0.3
        )


def paint_neck(canvas: Canvas, face: Face, g: Geometry, skin: Rgb) -> None:
    """Neck, the shade of the chin on it, shoulders."""
    half = 23.0 - 5.0 * g.child + (3.5 if face.sex == "male" and face.age_years > 14 else 0.0)
    base = g.chin_y
    neck = np.array(
        [
            (-half, 20.0),
            (half, 20.0),
            (half, base + 4),
            (half + 9, base + 12),
            (80, 92),
            (-80, 92),
            (-half - 9, base + 12),
            (-half, base + 4),
        ]
    )
    canvas.fill(neck, tint(skin, 0.8))
    shade = tint(skin, 0.42, (60, 20, 15), 0.2)
    canvas.fill(ellipse(0, base - 3.0, half, 9.0), shade, 0.75, soft=3.0, clip=neck)
    collar = [(-84, 80), (-half - 14, base + 13), (-half, base + 11), (0, base + 19), (half, base + 11)]
    shirt = curve([*collar, (half + 14, base + 13), (84, 80)])
    canvas.fill(np.concatenate([shirt, [(84, 110), (-84, 110)]]), face.view.shirt)


def hair_lines(face: Face, g: Geometry) -> tuple[Points, Points]:
    """The outer contour of the hair and the line where it meets the face, both left to right."""
    style, t = face.appearance.style, g.t
    volume = _VOLUME[style] * float(np.exp(0.12 * t["hair_density"])) * (1 - 0.5 * g.child)
    w = g.temple_half + volume
    end = {"crop": -2.0, "bald": -8.0, "short": 3.0, "long": 60.0}.get(style, 6.0)
    outer = curve(
        [
            (-g.brow_half - 0.6 * volume, end),
            (-w - 0.6, -14.0),
            (-w, 0.5 * g.vertex_y),
            (-0.62 * w, g.vertex_y + 6.0 - 1.2 * volume),
            (0, g.vertex_y - 1.4 * volume),
            (0.62 * w, g.vertex_y + 6.0 - 1.2 * volume),
            (w, 0.5 * g.vertex_y),
            (w + 0.6, -14.0),
            (g.brow_half + 0.6 * volume, end),
        ]
    )
    h, side = g.hairline_y, g.temple_half
    recede = 2.0 if face.sex == "male" and face.age_years > 30 else 0.0
    burn = -5.0 + 0.8 * max(0.0, -t["hairline"]) + (2.0 if end > 0 else -5.0)
    if style == "fringe":
        cut = 0.5 * h + 0.5 * (g.brow_y - 8.0)
        middle = [(-0.72 * side, cut + 1.5), (-0.3 * side, cut), (0.1 * side, cut + 1.0), (0.5 * side, cut - 0.6)]
        middle += [(0.74 * side, cut + 1.5)]
    elif style == "parted":
        middle = [(-0.8 * side, h + 9.5), (-0.45 * side, h - 0.5), (-0.25 * side, h - 4.0), (0.3 * side, h + 1.5)]
        middle += [(0.75 * side, h + 10.0)]
    else:
        middle = [(-0.78 * side, h + 9.0 - recede), (-0.5 * side, h + 0.5 - 2 * recede), (0.0, h)]
        middle += [(0.5 * side, h + 0.5 - 2 * recede), (0.78 * side, h + 9.0 - recede)]
    rim = g.brow_half + 0.2
    inner = curve([(-rim, burn), (-0.95 * side, -17.0), *middle, (0.95 * side, -17.0), (rim, burn)])
    return outer, inner


def paint_hair(canvas: Canvas, face: Face, g: Geometry) -> None:
    """The hair around the forehead, with strands; the far side of long hair is painted by ``paint_back_hair``."""
    outer, inner = hair_lines(face, g)
    thin = float(np.clip(0.95 + 0.05 * g.t["hair_density"] - 0.25 * g.child, 0.25, 1.0))
    if face.appearance.style == "bald":
        thin *= 0.35
    mask = canvas.mask(np.concatenate([outer, inner[::-1]]), 0.9)
    strands = _strands(canvas, face)
    low = g.t["hairline"] + 0.3 * g.t["hair_density"]
    _cover(canvas, mask, tint(face.appearance.hair, 1.0), strands, thin)
    if low < -1.0:
        # A low hairline runs out in fine hair on the forehead and before the ears.
        down = canvas.mask(np.concatenate([outer, (inner + (0, 2.0 - low))[::-1]]), 2.5)
        _cover(canvas, down, tint(face.appearance.hair, 1.05), strands, min(0.3, 0.09 * -low))


def paint_back_hair(canvas: Canvas, face: Face, g: Geometry) -> None:
    """Long hair behind the neck."""
    if face.appearance.style != "long":
        return
    w = g.temple_half + 5.0
    shape = curve([(-w, -20), (-w - 3, 20), (-w - 1, 95), (w + 1, 95), (w + 3, 20), (w, -20)])
    mask = canvas.mask(shape, 0.8)
    _cover(canvas, mask, tint(face.appearance.hair, 0.75), _strands(canvas, face), 1.0)


def _strands(canvas: Canvas, face: Face) -> NDArray[np.float32]:
    """Brightness of hair about 1, (side, side) float32: streaks that follow the head, or curls."""
    random = generator(face.appearance.texture_seed, "hair")
    shape = (10, 76) if face.appearance.style != "curly" else (46, 46)
    noise = random.standard_normal(shape, dtype=np.float32)
    x, y = canvas.grid(1.0)
    texture = 0.92 + 0.16 * cv2.resize(noise, (len(x), len(y)), interpolation=cv2.INTER_CUBIC)
    # Light from above: a sheen across the crown.
    texture += 0.22 * np.exp(-0.5 * ((y[:, None] + 52.0 - 0.012 * x[None, :] ** 2) / 7.0) ** 2)
    return np.asarray(cv2.resize(texture, (canvas.side, canvas.side)), np.float32)


def _cover(
    canvas: Canvas, mask: NDArray[np.uint8], colour: Rgb, brightness: NDArray[np.float32], opacity: float
) -> None:
    rows = np.flatnonzero(mask.any(1))
    if not len(rows):
        return
    first, end = int(rows[0]), int(rows[-1]) + 1
    part = brightness[first:end]
    canvas.cover([part * np.float32(level) + np.float32(6.0) for level in colour], mask[first:end], opacity, first)
