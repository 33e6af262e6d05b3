"""The height of a face towards the camera, and its shading.

Built of Gaussians and parabolas from the same measures as the painted features, so that a flat bridge or a
small chin is seen in the light as well as in the outline, and parallax follows when the head turns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from simulations.faces.contours import outline
from simulations.faces.geometry import Geometry

Field = NDArray[np.float32]


def relief(g: Geometry, x: Field, y: Field) -> Field:
    """Height in face units, (len(y), len(x)) float32, 0 at the ears and beyond the outline."""
    t = g.t
    middle = 0.5 * (g.chin_y + g.vertex_y)
    reach = 0.5 * (g.chin_y - g.vertex_y) + 3.0
    side = outline(g)
    side = side[: int(side[:, 1].argmax()) + 1]
    half = np.interp(y, side[:, 1], np.maximum(side[:, 0], 6.0)).astype(np.float32) + 5.0
    # Parabolas and not a sphere: slopes stay finite, so that a turned head does not fold over at the rim.
    across = np.maximum(1.0 - (x[None, :] / half[:, None]) ** 2, -0.35)
    along = np.maximum(1.0 - ((y - middle) / reach) ** 2, 0.02) ** 0.8
    height = 30.0 * along[:, None] * across

    bumps: list[tuple[float, float, float, float, float]] = []

    def bump(cx: float, cy: float, sx: float, sy: float, size: float) -> None:
        """A Gaussian and, where cx is not 0, its mirror image."""
        bumps.append((cx, cy, sx, sy, size))

    # Forehead, brow ridge, sockets, eyeballs.
    bump(13.0, -27.0, 13.0, 10.0, 1.0 + 1.4 * t["frontal_bossing"])
    bump(15.0, g.brow_y + 0.5, 10.0, 3.6, 1.5 + 0.55 * t["eye_depth"] - 1.0 * g.child)
    bump(g.eye_x - 1.0, 0.0, 8.5, 5.6, -3.6 - 0.75 * t["eye_depth"])
    bump(g.eye_x, 0.3, 5.0, 4.0, 2.4)
    bump(g.eye_x, 7.5, 7.0, 2.6, 0.7 * max(0.0, t["periorbital_fullness"] - 0.6))
    # Cheekbones, soft cheeks, the fold beside the mouth.
    bump(24.0, 17.5, 9.0, 7.0, 2.0 + 1.15 * t["malar"])
    bump(21.0, 31.0, 8.5, 9.0, 1.0 + 1.2 * t["cheek_fullness"] + 1.6 * g.child)
    # Nose: a ridge whose height and breadth run from bridge to tip, wings, tip.
    along = np.clip((y - g.nasion_y) / (g.tip_y - g.nasion_y), 0.0, 1.3)
    root = max(-0.5, 3.4 + 1.0 * t["bridge_height"] - 2.0 * g.child)
    crest = root + (10.6 - 1.5 * g.child - root) * np.minimum(along, 1.0) ** 1.25
    edge = _rise(y, g.nasion_y - 4.5, 4.5) * (1.0 - _rise(y, g.tip_y + 1.0, g.subnasale_y - g.tip_y + 0.8))
    breadth = np.maximum(1.8, 3.3 + 0.5 * t["bridge_width"] * (1.0 - along * 0.6) + 0.9 * along)
    height += (crest * edge)[:, None] * np.exp(-0.5 * (x[None, :] / breadth[:, None]) ** 2)
    tip = max(1.9, 3.3 + 0.62 * t["tip_width"])
    bump(0.0, g.tip_y - 0.4, tip, 2.9, 2.2 + 0.4 * t["tip_width"])
    bump(g.ala_half - 2.6, g.tip_y + 2.2, 2.5, 2.6, 3.6)
    # Philtrum, lips, the furrow under them, chin.
    middle_lip = 0.5 * (g.subnasale_y + g.lip_top_y)
    half_lip = 0.45 * (g.lip_top_y - g.subnasale_y) + 0.6
    bump(0.0, g.mouth_y, 13.0, 9.0, 2.6)
    groove = max(0.0, 1.0 + 0.5 * t["philtrum_depth"])
    bump(0.0, middle_lip, 1.25, half_lip, -1.1 * groove)
    bump(2.5, middle_lip, 1.1, half_lip, 0.55 * groove)
    bump(0.0, 0.5 * (g.lip_top_y + g.mouth_y), 9.0, 1.8, 0.9 + 0.15 * t["upper_lip"])
    bump(0.0, g.lip_bottom_y - 2.0, 7.5, 2.0, 1.2 + 0.25 * t["lower_lip"])
    bump(0.0, g.lip_bottom_y + 2.2, 8.0, 1.8, -1.5)
    bump(0.0, g.chin_y - 5.5, max(4.0, 7.5 - 0.6 * t["chin_point"]), 4.2, max(-2.5, 2.6 + 1.0 * t["chin_length"]))
    return np.asarray(height + gaussians(bumps, x, y), np.float32)


def gaussians(bumps: Sequence[tuple[float, float, float, float, float]], x: Field, y: Field) -> Field:
    """The sum of axis-parallel Gaussians (centre x, centre y, spread x, spread y, height), (len(y), len(x)).

    Each stands on both sides of the face, unless its centre x is 0.
    """
    cx, cy, sx, sy, size = np.array(bumps, np.float32).T[..., None]
    across = np.exp(-0.5 * ((x - cx) / sx) ** 2) + (cx != 0) * np.exp(-0.5 * ((x + cx) / sx) ** 2)
    down = size * np.exp(-0.5 * ((y - cy) / sy) ** 2)
    return np.asarray(down.T @ across, np.float32)


def shade(height: Field, azimuth: float, elevation: float, strength: float, ambience: float) -> Field:
    """Brightness of a matte surface, about 0.4 to 1.2: Lambert, half of it wrapped, plus shade in hollows."""
    slope_x = cv2.Sobel(height, cv2.CV_32F, 1, 0, scale=1 / 8)
    slope_y = cv2.Sobel(height, cv2.CV_32F, 0, 1, scale=1 / 8)
    lx, ly = math.sin(azimuth) * math.cos(elevation), -math.sin(elevation)
    lz = math.cos(azimuth) * math.cos(elevation)
    lit = (lz - lx * slope_x - ly * slope_y) / np.sqrt(1.0 + slope_x**2 + slope_y**2)
    hollow = cv2.GaussianBlur(height, (0, 0), 3.0) - height
    wrapped = np.maximum(lit * 0.7 + 0.3, 0.0)
    result = ambience + (1.05 - ambience) * strength * wrapped - 0.055 * np.clip(hollow, -1.5, 4.0)
    return np.asarray(np.clip(result, 0.2, 1.3), np.float32)


def _rise(y: Field, start: float, length: float) -> Field:
    """0 before ``start``, 1 after ``start + length``, smooth between."""
    place = np.clip((y - start) / max(length, 1e-3), 0.0, 1.0)
    return np.asarray(place * place * (3.0 - 2.0 * place), np.float32)
