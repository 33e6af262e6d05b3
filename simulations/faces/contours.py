"""The contours of the face and of the ears."""

from __future__ import annotations

import math

from simulations.faces.canvas import Points, curve, mirror
from simulations.faces.geometry import Geometry, excess


def outline(g: Geometry) -> Points:
    """The closed contour of the face and forehead, (n, 2)."""
    right = [
        (0.0, g.vertex_y),
        (0.62 * g.temple_half, g.vertex_y + 6.5),
        (g.temple_half, 0.52 * g.vertex_y),
        (g.brow_half + 0.35 * g.t["frontal_bossing"], -13.0),
        *_jaw(g),
    ]
    skew = 0.8 * excess(g.t["asymmetry"], 0.5)
    left = [(-x - (skew if y > 0 else 0.0), y) for x, y in reversed(right[1:])]
    return curve([*right, (0.0, g.chin_y), *left], closed=True)


def _jaw(g: Geometry) -> list[tuple[float, float]]:
    """From cheekbone to chin: x = cheek (1 - s^a)^b, with ``a`` such that the jaw has its width at the mouth."""
    start = 5.0
    mouth = (0.5 * (g.mouth_y + g.lip_bottom_y) - start) / (g.chin_y - start)
    ratio = min(0.97, g.jaw_half / g.cheek_half)
    b = g.chin_shape
    a = min(9.0, max(1.3, math.log(1.0 - ratio ** (1.0 / b)) / math.log(mouth)))
    places = (0.0, 0.3, 0.55, 0.74, 0.88, 0.965)
    return [(g.cheek_half * (1.0 - s**a) ** b, start + s * (g.chin_y - start)) for s in places]


def ear(g: Geometry, side: int) -> Points:
    """The contour of one ear, (n, 2)."""
    top, tall, wide = g.ear_y - 0.5 * g.ear_height, g.ear_height, g.ear_width
    root = 0.5 * (g.brow_half + g.cheek_half) - 1.2
    low_root = root - max(0.0, (g.ear_y - 9.0) * 0.28)
    flare = 0.35 * max(0.0, g.t["ear_protrusion"])
    return mirror(
        curve(
            [
                (root - 1.0, top + 0.22 * tall),
                (root + 0.32 * wide + flare, top + 0.03 * tall),
                (root + 0.85 * wide + flare, top + 0.07 * tall),
                (root + wide + flare, top + 0.28 * tall),
                (root + 0.82 * wide, top + 0.58 * tall),
                (low_root + 0.48 * wide, top + 0.88 * tall),
                (low_root + 0.05 * wide, top + tall),
                (low_root - 2.2, top + 0.9 * tall),
            ],
            closed=True,
        ),
        side,
    )
