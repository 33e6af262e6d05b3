"""Anti-aliased, soft-edged painting of polygons and strokes in face units, on a float32 picture."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from simulations.faces.face import Rgb

Points = NDArray[np.float64]
Mask = NDArray[np.uint8]

LEFT, TOP, SIDE = -66.0, -61.0, 132.0  # what a canvas covers, face units
_SHIFT = 4  # fractional bits of OpenCV's polygon coordinates


class Canvas:
    """``pixels``: (n, n, 3) float32 RGB 0..255, covering SIDE x SIDE face units at ``scale`` pixels a unit."""

    def __init__(self, scale: float, colour: Rgb) -> None:
        self.scale = scale
        self.side = round(SIDE * scale)
        self.pixels = np.empty((self.side, self.side, 3), np.float32)
        self.pixels[:] = colour

    def fill(
        self, points: Points, colour: Rgb, opacity: float = 1.0, *, soft: float = 0.0, clip: Points | None = None
    ) -> None:
        """Paint the inside of a polygon; ``soft`` is the width of its edge, ``clip`` a polygon that bounds it."""
        window = self._window(points, soft)
        if window is None or opacity <= 0:
            return
        mask = self._polygon(points, window)
        if soft:
            mask = _blur(mask, soft * self.scale)
        if clip is not None:
            mask = cv2.multiply(mask, self._polygon(clip, window), scale=1 / 255)
        self._blend(mask, window, colour, opacity)

    def strokes(
        self,
        lines: Sequence[Points],
        colour: Rgb,
        width: float,
        opacity: float = 1.0,
        *,
        soft: float = 0.0,
        clip: Points | None = None,
    ) -> None:
        """Paint open lines of one width (face units) as one layer, so that crossings do not add up."""
        if not lines or opacity <= 0:
            return
        window = self._window(np.concatenate(lines), soft + width)
        if window is None:
            return
        pixels = width * self.scale
        mask = np.zeros((window[3] - window[1], window[2] - window[0]), np.uint8)
        # Thin lines are drawn one pixel wide and made faint; OpenCV has no fractional widths.
        thick = max(1, round(pixels))
        cv2.polylines(mask, [self._fixed(line, window) for line in lines], False, 255, thick, cv2.LINE_AA, _SHIFT)
        if soft:
            mask = _blur(mask, soft * self.scale)
        if clip is not None:
            mask = cv2.multiply(mask, self._polygon(clip, window), scale=1 / 255)
        self._blend(mask, window, colour, opacity * min(1.0, pixels / thick))

    def spot(
        self, x: float, y: float, rx: float, ry: float, colour: Rgb, opacity: float, soft: float = 1.0
    ) -> None:
        """A soft ellipse."""
        self.fill(ellipse(x, y, rx, ry), colour, opacity, soft=soft)

    def mask(self, points: Points, soft: float = 0.0) -> Mask:
        """The whole canvas's uint8 coverage of a polygon."""
        mask = self._polygon(points, (0, 0, self.side, self.side))
        return _blur(mask, soft * self.scale) if soft else mask

    def cover(self, picture: NDArray[np.float32], mask: Mask, opacity: float = 1.0, first_row: int = 0) -> None:
        """Lay a picture over rows ``first_row`` and below, where ``mask`` (of the same rows) is set."""
        weight = mask.astype(np.float32) * np.float32(opacity / 255)
        part = self.pixels[first_row : first_row + len(mask)]
        part[:] = cv2.blendLinear(picture, part, weight, 1.0 - weight)

    def grid(self, step: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """x (n,) and y (n,) in face units of the centres of cells ``step`` units wide."""
        places = (np.arange(round(SIDE / step), dtype=np.float32) + 0.5) * np.float32(step)
        return places + np.float32(LEFT), places + np.float32(TOP)

    def _window(self, points: Points, margin: float) -> tuple[int, int, int, int] | None:
        low = (points.min(0) - (LEFT, TOP)) * self.scale
        high = (points.max(0) - (LEFT, TOP)) * self.scale
        reach = 2.0 * margin * self.scale + 2
        x0, y0 = max(0, int(low[0] - reach)), max(0, int(low[1] - reach))
        x1, y1 = min(self.side, int(high[0] + reach) + 1), min(self.side, int(high[1] + reach) + 1)
        return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None

    def _fixed(self, points: Points, window: tuple[int, int, int, int]) -> NDArray[np.int32]:
        places = (points - (LEFT, TOP)) * self.scale - (window[0] + 0.5, window[1] + 0.5)
        return np.rint(places * (1 << _SHIFT)).astype(np.int32)

    def _polygon(self, points: Points, window: tuple[int, int, int, int]) -> Mask:
        mask = np.zeros((window[3] - window[1], window[2] - window[0]), np.uint8)
        cv2.fillPoly(mask, [self._fixed(points, window)], 255, cv2.LINE_AA, _SHIFT)
        return mask

    def _blend(self, mask: Mask, window: tuple[int, int, int, int], colour: Rgb, opacity: float) -> None:
        part = self.pixels[window[1] : window[3], window[0] : window[2]]
        weight = mask.astype(np.float32)[..., None] * np.float32(opacity / 255)
        part += weight * (np.asarray(colour, np.float32) - part)


def curve(points: Sequence[tuple[float, float]], *, closed: bool = False, steps: int = 7) -> Points:
    """A Catmull-Rom curve through the points: (n, 2)."""
    p = np.asarray(points, np.float64)
    if closed:
        p0, p1, p2, p3 = np.roll(p, 1, 0), p, np.roll(p, -1, 0), np.roll(p, -2, 0)
    else:
        ends = np.concatenate([2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]])
        p0, p1, p2, p3 = ends[:-3], ends[1:-2], ends[2:-1], ends[3:]
    t = (np.arange(steps) / steps)[:, None, None]
    line = 0.5 * (
        2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3
    )
    line = line.transpose(1, 0, 2).reshape(-1, 2)
    return line if closed else np.concatenate([line, p[-1:]])


_CIRCLE = np.stack([np.cos(np.linspace(0, 2 * np.pi, 24, False)), np.sin(np.linspace(0, 2 * np.pi, 24, False))], 1)


def ellipse(x: float, y: float, rx: float, ry: float, turn: float = 0.0) -> Points:
    """A 24-cornered ellipse (24, 2)."""
    shape = _CIRCLE * (rx, ry)
    if turn:
        c, s = np.cos(turn), np.sin(turn)
        shape = shape @ np.array([[c, s], [-s, c]])
    return shape + (x, y)


def mirror(points: Points, side: int) -> Points:
    """The points of the image's right half, on the side -1 (left) or 1 (right)."""
    return points if side > 0 else points * (-1.0, 1.0)


def _blur(mask: Mask, sigma: float) -> Mask:
    size = 2 * max(1, round(1.6 * sigma)) + 1
    return cv2.GaussianBlur(mask, (size, size), sigma * 0.8)
