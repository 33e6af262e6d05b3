"""Eyes, lids, lashes and eyebrows."""

from __future__ import annotations

import numpy as np

from simulations.faces.canvas import Canvas, Points, curve, ellipse
from simulations.faces.face import Face, Rgb
from simulations.faces.geometry import Geometry, excess

_SPAN = np.linspace(-1.0, 1.0, 15)  # along a lid, from the inner corner to the outer one


def _arc(skew: float, power: float) -> Points:
    """An arc over the span, 0 at both corners, its summit moved to ``skew``."""
    arc = 1.0 - np.abs(_SPAN - skew) ** power
    return np.asarray(arc - np.interp(_SPAN, [-1, 1], [arc[0], arc[-1]]))


_BOW, _DIP = _arc(-0.12, 2.3), _arc(0.08, 2.0)
_INNER, _OUTER, _CORNER = (
    np.exp(-(((_SPAN - at) / wide) ** 2)) for at, wide in ((-0.75, 0.3), (0.5, 0.3), (-1, 0.25))
)


def tint(colour: Rgb, factor: float, towards: Rgb = (0, 0, 0), share: float = 0.0) -> Rgb:
    """``colour`` times ``factor``, then moved by ``share`` towards another colour."""
    red, green, blue = (
        min(255.0, a * factor) * (1 - share) + b * share for a, b in zip(colour, towards, strict=True)
    )
    return (red, green, blue)


def lids(g: Geometry, side: int, blink: float = 0.0) -> tuple[Points, Points]:
    """The upper and the lower lid margin, (15, 2) each, from the inner to the outer corner."""
    droop = excess(g.t["ptosis"])
    up = max(0.35, g.lid_up * (1.0 - min(0.9, 0.17 * droop + 0.9 * blink)))
    fold = excess(g.t["epicanthus"])
    upper = up * (0.14 * fold * _INNER - _BOW)
    evert = excess(g.t["lid_eversion"])
    lower = g.lid_low * _DIP + 0.75 * evert * _OUTER + 0.35 * _CORNER
    along = _SPAN * g.eye_half_width
    return _place(g, side, along, upper), _place(g, side, along, lower)


def _place(g: Geometry, side: int, along: Points, down: Points) -> Points:
    """From (outwards, down) about the pupil to face units: slant, side, asymmetry."""
    c, s = np.cos(g.slant), np.sin(g.slant)
    sag = 0.35 * excess(g.t["asymmetry"], 0.5) * side
    return np.stack([side * (g.eye_x + along * c + down * s), sag - along * s + down * c], 1)


def paint_eyes(canvas: Canvas, face: Face, g: Geometry, skin: Rgb) -> None:
    """Both eyes with sockets, lids, folds and lashes."""
    t, view = g.t, face.view
    dark_skin = tint(skin, 0.52, (70, 20, 15), 0.15)
    deep = t["eye_depth"]
    for side in (-1, 1):
        upper, lower = lids(g, side, view.blink)
        opening = np.concatenate([upper, lower[::-1]])
        x, y = side * g.eye_x, 0.0
        # Socket: dark above the lid and at the root of the nose.
        canvas.spot(x - side * 1.5, y - 4.6, 8.5, 2.9, dark_skin, np.clip(0.16 + 0.085 * deep, 0.03, 0.5), 3.0)
        canvas.spot(x - side * 8.0, y - 1.0, 2.2, 4.0, dark_skin, np.clip(0.14 + 0.05 * deep, 0.02, 0.3), 2.0)
        canvas.spot(x, y + 6.6, 7.0, 1.6, dark_skin, 0.1 + 0.02 * face.age_years / 20, 1.8)
        puff = excess(t["periorbital_fullness"], 0.5)
        if puff:
            canvas.spot(x, y + 6.0, 8.0, 2.6, tint(skin, 1.08), 0.16 * puff, 1.5)
            canvas.strokes(
                [_place(g, side, _SPAN * 8.0, 8.6 - 2.4 * _SPAN**2)], dark_skin, 0.9, 0.14 * puff, soft=0.7
            )
            canvas.spot(x, y - 5.6, 7.5, 1.6, tint(skin, 1.08), 0.14 * puff, 1.2)
        # Eyeball, iris, pupil.
        canvas.fill(opening, (226, 222, 218), soft=0.3)
        canvas.strokes([upper + (0, 0.5)], (120, 100, 95), 1.3, 0.45, soft=0.5, clip=opening)
        squint = side * (0.9 * excess(t["strabismus"], 1.0)) if side > 0 else 0.0
        ix = x + view.gaze[0] + side * 0.1 - squint
        iy = y - 0.15 + view.gaze[1]
        iris = face.appearance.iris
        canvas.fill(ellipse(ix, iy, g.iris, g.iris), tint(iris, 0.5), clip=opening)
        canvas.fill(ellipse(ix, iy + 0.15, g.iris * 0.82, g.iris * 0.82), iris, soft=0.4, clip=opening)
        canvas.fill(ellipse(ix, iy, g.iris * 0.42, g.iris * 0.42), (12, 10, 10), clip=opening)
        glint = float(np.sin(view.light[0]))
        canvas.fill(ellipse(ix + 1.2 * glint + 0.3, iy - 1.2, 0.75, 0.75), (250, 250, 250), 0.9, clip=opening)
        canvas.spot(float(lower[1, 0]), float(lower[1, 1]), 0.8, 0.6, (205, 130, 120), 0.6, 0.3)
        evert = excess(t["lid_eversion"])
        if evert:
            canvas.strokes([lower[7:14] + (0, 0.25)], (214, 120, 110), 0.9, min(0.85, 0.35 * evert), soft=0.3)
        # Lid margins and the crease above, hidden when eyes are deep or lids droop.
        lash = tint(face.appearance.hair, 0.4, (25, 15, 12), 0.6)
        canvas.strokes([lower[2:]], tint(skin, 0.62, (110, 50, 40), 0.2), 0.6, 0.5, soft=0.25)
        canvas.strokes([upper], lash, 0.95, 0.9 - 0.35 * g.child)
        lift = 1.9 + 0.55 * max(-1.5, -deep * 0.8) - 0.28 * excess(t["ptosis"])
        crease = upper + (0, -max(0.75, lift))
        crease[0] += (side * 1.2, 0.8)
        canvas.strokes([crease[1:]], dark_skin, 0.7, np.clip(0.5 - 0.06 * deep, 0.25, 0.7), soft=0.35)
        if excess(t["ptosis"]):
            lid = np.concatenate([upper, crease[::-1]])
            canvas.fill(lid, tint(skin, 0.94), 0.5, soft=0.5)
        long = excess(t["lash_length"], 0.6)
        reach = 0.8 + 0.62 * long
        hairs = [
            np.array([upper[i], upper[i] + (side * reach * (0.25 + 0.6 * _SPAN[i]), -reach)])
            for i in range(5, 15, 1 if long else 2)
        ]
        canvas.strokes(hairs, lash, 0.45, min(0.9, 0.25 + 0.22 * long) * (1 - 0.4 * g.child), soft=0.15)
        if long:
            canvas.strokes(_lower_lashes(lower, side, reach), lash, 0.4, 0.2 * long)
        fold = excess(t["epicanthus"])
        if fold:
            _epicanthus(canvas, g, side, upper, skin, dark_skin, fold)


def _lower_lashes(lower: Points, side: int, reach: float) -> list[Points]:
    return [np.array([lower[i], lower[i] + (side * 0.4 * reach, 0.55 * reach)]) for i in range(8, 15, 2)]


def _epicanthus(canvas: Canvas, g: Geometry, side: int, upper: Points, skin: Rgb, dark: Rgb, fold: float) -> None:
    """A crescent of skin from the upper lid that covers the inner corner."""
    w = g.eye_half_width
    cover = min(3.4, 0.8 + 0.85 * fold)
    edge = np.array(
        [
            (-w + 0.55 * cover + 2.0, -g.lid_up * 0.85),
            (-w + 0.9 * cover, -g.lid_up * 0.3),
            (-w + 0.85 * cover, 0.8),
            (-w + 0.2 * cover, 2.6 + 0.2 * fold),
        ]
    )
    back = np.array([(-w - 1.6, 2.2), (-w - 1.8, -0.5), (-w - 0.3, -g.lid_up)])
    line = curve([tuple(p) for p in _place(g, side, edge[:, 0], edge[:, 1])])
    far = _place(g, side, back[:, 0], back[:, 1])
    canvas.fill(np.concatenate([line, far]), tint(skin, 0.99), min(1.0, 0.55 + 0.25 * fold), soft=0.5)
    canvas.strokes([line], dark, 0.8, min(0.75, 0.3 + 0.15 * fold), soft=0.35)


def brow_line(g: Geometry, side: int) -> Points:
    """The middle of the eyebrow, (n, 2), from its inner to its outer end."""
    t = g.t
    inner = 0.42 * g.eye_x + 0.25
    outer = g.eye_x + 10.8
    y = g.brow_y + 0.6 * excess(t["asymmetry"], 0.5) * side
    points = [
        (inner, y + 0.2 + 0.1 * t["brow_arch"]),
        (inner + 0.3 * (outer - inner), y - 0.75 - 0.62 * t["brow_arch"]),
        (inner + 0.64 * (outer - inner), y - 1.1 - 0.9 * t["brow_arch"]),
        (outer, y + 2.0 + 0.3 * t["brow_arch"]),
    ]
    return curve(points, steps=6) * (side, 1)


def paint_brows(canvas: Canvas, face: Face, g: Geometry, skin: Rgb) -> None:
    """Eyebrows, and the hair between them."""
    t = g.t
    hair = tint(face.appearance.hair, 0.72, skin, 0.08 + 0.22 * g.child)
    male = 0.5 if face.sex == "male" and face.age_years > 12 else 0.0
    full = t["brow_thickness"] + male - 0.6 * g.child
    thick = max(0.5, 2.5 * np.exp(0.21 * full))
    density = float(np.clip(0.62 + 0.13 * full, 0.1, 0.95))
    loss = excess(t["brow_lateral_loss"])
    for side in (-1, 1):
        line = brow_line(g, side)
        place = np.linspace(0, 1, len(line))
        width = thick * (0.75 + 0.6 * place - 1.2 * place**2) * (1 + 0.15 * np.sin(np.pi * place))
        width = np.maximum(width, 0.25)
        keep = len(line) if not loss else max(7, round(len(line) * (0.76 - 0.09 * loss)))
        above = line - np.stack([0 * width, 0.5 * width], 1)
        below = line + np.stack([0 * width, 0.5 * width], 1)
        shape = np.concatenate([above[:keep], below[:keep][::-1]])
        canvas.fill(shape, hair, 0.78 * density, soft=0.55)
        lean = np.interp(place, [0, 0.4, 1], [0.5, 1.6, 2.4])[:, None] * (side, 0) + (0, 0.3)
        hairs = [np.array([below[i], above[i] + lean[i] * (0.3 + 0.42 * width[i])]) for i in range(keep - 2)]
        canvas.strokes(hairs, tint(hair, 0.7), 0.5, 0.6 * density, soft=0.25)
    meet = excess(t["synophrys"], 0.7)
    if meet:
        inner = abs(brow_line(g, 1)[0, 0]) + 0.8
        y = g.brow_y + 1.5
        size = 0.36 * thick * (0.7 + 0.22 * min(meet, 2.5))
        bridge = curve([(-inner, y), (0, y + 0.7), (inner, y)], steps=5)
        shape = np.concatenate([bridge - (0, size), (bridge + (0, size))[::-1]])
        canvas.fill(shape, hair, min(0.85, 0.3 * meet), soft=0.7)
        places = np.linspace(-inner, inner, 13)
        hairs = [np.array([(u, y + size + 0.5), (u * 0.86, y - size)]) for u in places]
        canvas.strokes(hairs, tint(hair, 0.7), 0.5, min(0.6, 0.28 * meet), soft=0.3)
