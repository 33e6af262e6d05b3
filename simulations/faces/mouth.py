"""Nose wings and nostrils, philtrum, lips, teeth and the folds around them."""

from __future__ import annotations

import numpy as np

from simulations.faces.canvas import Canvas, Points, curve, ellipse, mirror
from simulations.faces.eyes import tint
from simulations.faces.face import Face, Rgb
from simulations.faces.geometry import Geometry, excess


def paint_nose(canvas: Canvas, face: Face, g: Geometry, skin: Rgb) -> None:
    """What the relief cannot show: nostrils, the groove around the wings, columella, shine."""
    t = g.t
    dark = tint(skin, 0.5, (70, 20, 15), 0.2)
    nostril = tint(skin, 0.24, (40, 10, 8), 0.4)
    turned = t["nares_anteversion"] + 0.9 * g.child - 6.0 * face.view.pitch
    base = g.subnasale_y - 1.9
    hang = excess(t["columella"])
    for side in (-1, 1):
        wing = [
            (g.ala_half - 2.4, g.tip_y - 2.2),
            (g.ala_half - 0.2, g.tip_y + 0.2),
            (g.ala_half, g.tip_y + 2.6),
            (g.ala_half - 1.8, base + 1.4),
        ]
        line = mirror(curve(wing, steps=5), side)
        canvas.strokes([line], dark, 1.0, 0.34, soft=0.6)
        tall = float(np.clip(0.85 + 0.36 * turned, 0.35, 2.6))
        x = side * (0.48 * g.ala_half + 0.2)
        canvas.spot(x, base - 0.3 * tall, 0.24 * g.ala_half + 0.6, tall + 0.4, dark, 0.45, 0.7)
        hole = ellipse(x, base - 0.35 * tall, 0.19 * g.ala_half + 0.25, tall * 0.75, side * -0.35)
        canvas.fill(hole, nostril, 0.9, soft=0.3)
        # The side of the bridge: a wide bridge casts a wide, faint edge.
        edge = 3.6 + 0.62 * t["bridge_width"]
        flank = curve([(edge + 1.2, -3.5), (edge, 3.0), (edge + 0.8, 0.62 * g.tip_y)], steps=5)
        depth = float(np.clip(0.11 + 0.045 * t["bridge_height"], 0.0, 0.3))
        canvas.strokes([mirror(flank, side)], dark, 1.6, depth, soft=1.2)
    canvas.spot(0, g.subnasale_y + 0.4, g.ala_half * 0.75, 0.8, dark, 0.34, 0.9)
    low = g.subnasale_y - 0.4 + 0.75 * hang
    canvas.spot(0, low - 0.8, 1.7, 1.3, tint(skin, 1.0), 0.55, 0.6)
    canvas.strokes(
        [curve([(-1.9, low - 0.4), (0, low + 0.5), (1.9, low - 0.4)], steps=4)], dark, 0.7, 0.4, soft=0.4
    )
    bulk = 2.7 + 0.7 * t["tip_width"]
    for side in (-1, 1):
        outline = [(bulk + 0.3, g.tip_y - 2.6), (bulk + 0.9, g.tip_y), (bulk, g.tip_y + 2.4)]
        canvas.strokes([mirror(curve(outline, steps=4), side)], dark, 1.0, 0.22, soft=0.8)
    shine = tint(skin, 1.0, (255, 255, 255), 0.45)
    canvas.spot(np.sin(face.view.light[0]) * 1.4, g.tip_y - 1.0, 1.1 + 0.2 * t["tip_width"], 1.0, shine, 0.4, 1.0)
    ridge = float(np.clip(0.15 + 0.06 * t["bridge_height"], 0.0, 0.36))
    canvas.spot(0, 0.35 * g.tip_y, 1.1, 6.0, shine, ridge, 1.2)
    if t["bridge_height"] < -0.5:
        canvas.spot(0, 1.0, 5.0, 2.2, dark, min(0.32, 0.09 * -t["bridge_height"]), 2.0)


def lips(g: Geometry) -> tuple[Points, Points, Points, Points]:
    """Upper lip border, upper inner line, lower inner line, lower lip border: left to right, (n, 2) each."""
    t = g.t
    w, sag = g.mouth_half, g.corner_drop
    bow = max(0.0, 0.75 + 0.42 * t["cupid_bow"] + 0.12 * t["philtrum_depth"])
    top, mid, bottom, gap = g.lip_top_y, g.mouth_y, g.lip_bottom_y, g.opening
    corner = mid + sag + 0.4 * gap
    tent = 0.55 * excess(t["cupid_bow"], 1.0)
    upper = [
        (-w, corner),
        (-0.62 * w, top + 0.4 * (mid - top) + 0.45 * sag + 0.2 * gap + 0.3 * tent),
        (-3.0, top - 0.45 * bow - 0.3 * tent),
        (0, top + 0.75 * bow - 0.3 * tent),
        (3.0, top - 0.45 * bow - 0.3 * tent),
        (0.62 * w, top + 0.4 * (mid - top) + 0.45 * sag + 0.2 * gap + 0.3 * tent),
        (w, corner),
    ]
    inner_up = [
        (-w, corner),
        (-0.5 * w, mid + 0.35 * sag - 0.05 * gap),
        (0, mid + 0.45 - 0.9 * tent),
        (0.5 * w, mid + 0.35 * sag - 0.05 * gap),
        (w, corner),
    ]
    inner_low = [
        (-w, corner),
        (-0.5 * w, mid + 0.35 * sag + 0.85 * gap),
        (0, mid + 0.45 + gap),
        (0.5 * w, mid + 0.35 * sag + 0.85 * gap),
        (w, corner),
    ]
    lower = [
        (-w, corner),
        (-0.72 * w, corner + 0.6 * (bottom - corner)),
        (-0.4 * w, bottom - 0.5 + 0.1 * sag),
        (0, bottom),
        (0.4 * w, bottom - 0.5 + 0.1 * sag),
        (0.72 * w, corner + 0.6 * (bottom - corner)),
        (w, corner),
    ]
    return curve(upper), curve(inner_up), curve(inner_low), curve(lower)


def paint_mouth(canvas: Canvas, face: Face, g: Geometry, skin: Rgb) -> None:
    """Philtrum, lips, teeth, and the folds that age, coarseness or flat cheeks deepen."""
    t = g.t
    dark = tint(skin, 0.5, (80, 20, 15), 0.2)
    red = tint(skin, 0.86, (176, 62, 66), 0.42 if face.appearance.melanin < 0.55 else 0.22)
    upper, inner_up, inner_low, lower = lips(g)
    groove = float(np.clip(0.2 + 0.095 * t["philtrum_depth"], 0.0, 0.5))
    length = g.lip_top_y - g.subnasale_y
    canvas.spot(0, g.subnasale_y + 0.55 * length, 1.3, 0.46 * length, dark, groove * 0.8, 0.7)
    for side in (-1, 1):
        column = np.array([(side * 1.9, g.subnasale_y + 1.0), (side * 2.9, g.lip_top_y - 0.6)])
        canvas.strokes([column], tint(skin, 1.1, (255, 255, 255), 0.12), 1.0, groove * 1.2, soft=0.5)
        heavy = (
            0.15 + 0.11 * excess(t["facial_coarseness"], 0.5) - 0.035 * t["malar"] + 0.1 * max(0, face.view.smile)
        )
        heavy += 0.004 * max(0.0, face.age_years - 25) - 0.06 * g.child
        fold = [
            (g.ala_half + 1.2, g.tip_y + 1.0),
            (g.ala_half + 5.2, g.subnasale_y + 5.0),
            (g.mouth_half + 4.6, g.mouth_y + g.corner_drop + 0.5),
        ]
        canvas.strokes([mirror(curve(fold, steps=5), side)], dark, 1.2, max(0.0, heavy), soft=0.9)
    canvas.spot(0, g.lip_bottom_y + 1.9, 0.5 * g.mouth_half, 1.0, dark, 0.3, 1.3)
    if g.opening > 0.3:
        inside = np.concatenate([inner_up, inner_low[::-1]])
        canvas.fill(inside, (62, 22, 22))
        _teeth(canvas, g, inside)
    canvas.fill(np.concatenate([upper, inner_up[::-1]]), tint(red, 0.88), 0.88, soft=0.45)
    canvas.fill(np.concatenate([inner_low, lower[::-1]]), red, 0.88, soft=0.5)
    canvas.spot(0, g.lip_bottom_y - 2.3, 0.36 * g.mouth_half, 0.8, tint(red, 1.1, (255, 235, 230), 0.4), 0.4, 0.8)
    canvas.strokes([inner_up], tint(red, 0.4), 0.8, 0.75, soft=0.2)
    for side in (-1, 1):
        canvas.spot(side * (g.mouth_half + 0.2), inner_up[0, 1], 1.0, 0.9, dark, 0.4, 0.6)


def _teeth(canvas: Canvas, g: Geometry, inside: Points) -> None:
    """The upper row, hanging from the lip; gaps where the teeth are widely spaced."""
    edge = g.mouth_y + 0.2 + min(2.3, 0.75 * g.opening)
    half = 0.78 * g.mouth_half
    row = np.array(
        [(-half, g.mouth_y - 2), (half, g.mouth_y - 2), (half, edge - 0.6), (0, edge), (-half, edge - 0.6)]
    )
    canvas.fill(row, (236, 230, 216), 0.95, soft=0.25, clip=inside)
    places = np.arange(-3, 4) * 2.75
    gaps = [np.array([(x, g.mouth_y - 2), (x, edge)]) for x in places if abs(x) < half]
    wide = excess(g.t["teeth_spacing"], 0.5)
    canvas.strokes(gaps, (90, 50, 45), 0.45 + 0.25 * wide, min(0.9, 0.25 + 0.25 * wide), clip=inside)
