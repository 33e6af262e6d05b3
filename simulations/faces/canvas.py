"""Anti-aliased, soft-edged painting of polygons and strokes in face units, on a float32 picture."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from simulations.faces.face import Rgb

Points = NDArray[np.float64]
Mask = NDArray[np.uint8]
Plane = NDArray[np.float32]

LEFT, TOP, SIDE = -66.0, -61.0, 132.0  # what a canvas covers, face units
_SHIFT = 4  # fractional bits of OpenCV's polygon coordinates


class Canvas:
    """``pixels``: (3, n, n) float32 RGB planes 0..255, covering SIDE x SIDE face units, ``scale`` pixels a unit.

    Planes, because numpy blends them several times as quickly as interleaved colours.
    """

    def __init__(self, scale: float, colour: Rgb) -> None:
        self.scale = scale
        self.side = round(SIDE * scale)
        self.pixels = np.empty((3, self.side, self.side), np.float32)
        self.pixels[:] = _column(colour)

    def fill(
        self, points: Points, colour: Rgb, opacity: float = 1.0, *, soft: float = 0.0, clip: Points | None = None
    ) -> None:
        """Paint the inside of a polygon; ``soft`` is the width of its edge, ``clip`` a polygon that bounds it."""
        fixed = self._fixed(points)
        window = self._window(fixed, soft)
        if window is None or opacity <= 0:
            return
        mask = _polygon(fixed, window)
        if soft:
            mask = _blur(mask, soft * self.scale)
        if clip is not None:
            mask = _both(mask, _polygon(self._fixed(clip), window))
        self._blend(mask, window, colour, opacity)

    def strokes(
        self,
        lines: Sequence[Points] | Points,
        colour: Rgb,
        width: float,
        opacity: float = 1.0,
        *,
        soft: float = 0.0,
        clip: Points | None = None,
    ) -> None:
        """Paint open lines of one width (face units) as one layer, so that crossings do not add up.

        ``lines``: (k, n, 2), or a sequence of lines that all have n points.
        """
        if not len(lines) or opacity <= 0:
            return
        fixed = self._fixed(np.asarray(lines))
        window = self._window(fixed.reshape(-1, 2), soft + width)
        if window is None:
            return
        pixels = width * self.scale
        mask = np.zeros((window[3] - window[1], window[2] - window[0]), np.uint8)
        # Thin lines are drawn one pixel wide and made faint; OpenCV has no fractional widths.
        thick = max(1, round(pixels))
        corner = (window[0] << _SHIFT, window[1] << _SHIFT)
        cv2.polylines(mask, list(fixed - corner), False, 255, thick, cv2.LINE_AA, _SHIFT)
        if soft:
            mask = _blur(mask, soft * self.scale)
        if clip is not None:
            mask = _both(mask, _polygon(self._fixed(clip), window))
        self._blend(mask, window, colour, opacity * min(1.0, pixels / thick))

    def spot(
        self, x: float, y: float, rx: float, ry: float, colour: Rgb, opacity: float, soft: float = 1.0
    ) -> None:
        """A soft ellipse: a Gaussian about as wide as an ellipse of radii rx, ry with soft edges looks."""
        wide, tall = 0.62 * rx + 0.35 * soft, 0.62 * ry + 0.35 * soft
        columns, across = self._profile(x - LEFT, wide)
        rows, down = self._profile(y - TOP, tall)
        if opacity <= 0 or not len(across) or not len(down):
            return
        part = self.pixels[:, rows, columns]
        part += (down[:, None] * across[None, :] * np.float32(opacity)) * (_column(colour) - part)

    def mask(self, points: Points, soft: float = 0.0) -> Mask:
        """The whole canvas's uint8 coverage of a polygon."""
        mask = _polygon(self._fixed(points), (0, 0, self.side, self.side))
        return _blur(mask, soft * self.scale) if soft else mask

    def cover(self, planes: Sequence[Plane], mask: Mask, opacity: float = 1.0, first_row: int = 0) -> None:
        """Lay three planes over the rows from ``first_row`` on, where ``mask`` (of those rows) is set."""
        weight = mask.astype(np.float32) * np.float32(opacity / 255)
        for plane, own in zip(planes, self.pixels[:, first_row : first_row + len(mask)], strict=True):
            own += weight * (plane - own)

    def picture(self) -> NDArray[np.uint8]:
        """What is painted: (n, n, 3) uint8."""
        return np.asarray(cv2.merge([cv2.convertScaleAbs(plane) for plane in self.pixels]), np.uint8)

    @staticmethod
    def grid(step: float) -> tuple[Plane, Plane]:
        """x (n,) and y (n,) in face units of the centres of cells ``step`` units wide."""
        places = (np.arange(round(SIDE / step), dtype=np.float32) + 0.5) * np.float32(step)
        return places + np.float32(LEFT), places + np.float32(TOP)

    def _fixed(self, points: Points) -> NDArray[np.int32]:
        """Canvas coordinates in 1/16 pixel; the centre of pixel 0 is 0."""
        scale = self.scale * (1 << _SHIFT)
        return np.rint(points * scale - (LEFT * scale + 8, TOP * scale + 8)).astype(np.int32)

    def _window(self, fixed: NDArray[np.int32], margin: float) -> tuple[int, int, int, int] | None:
        x, y, width, height = cv2.boundingRect(fixed)
        reach = int(2.0 * margin * self.scale) + 2
        x0, y0 = max(0, (x >> _SHIFT) - reach), max(0, (y >> _SHIFT) - reach)
        x1 = min(self.side, ((x + width) >> _SHIFT) + reach + 1)
        y1 = min(self.side, ((y + height) >> _SHIFT) + reach + 1)
        return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None

    def _profile(self, centre: float, spread: float) -> tuple[slice, Plane]:
        """The pixels within 2.6 standard deviations of ``centre`` along one axis, and a Gaussian over them."""
        first = max(0, int((centre - 2.6 * spread) * self.scale))
        end = min(self.side, int((centre + 2.6 * spread) * self.scale) + 1)
        places = (np.arange(first, end, dtype=np.float32) + 0.5) / self.scale - centre
        return slice(first, max(first, end)), np.exp(places * places * (-0.5 / (spread * spread)))

    def _blend(self, mask: Mask, window: tuple[int, int, int, int], colour: Rgb, opacity: float) -> None:
        part = self.pixels[:, window[1] : window[3], window[0] : window[2]]
        part += (mask * np.float32(opacity / 255)) * (_column(colour) - part)


def _column(colour: Rgb) -> Plane:
    return np.array(colour, np.float32)[:, None, None]


def _polygon(fixed: NDArray[np.int32], window: tuple[int, int, int, int]) -> Mask:
    mask = np.zeros((window[3] - window[1], window[2] - window[0]), np.uint8)
    cv2.fillPoly(mask, [fixed - (window[0] << _SHIFT, window[1] << _SHIFT)], 255, cv2.LINE_AA, _SHIFT)
    return mask


def curve(points: Sequence[tuple[float, float]], *, closed: bool = False, steps: int = 7) -> Points:
    """A Catmull-Rom curve through the points: (n, 2)."""
    p = np.asarray(points, np.float64)
    first, last = (p[-1:], p[:2]) if closed else (2 * p[:1] - p[1:2], 2 * p[-1:] - p[-2:-1])
    ends = np.concatenate([first, p, last])
    count = len(ends) - 3
    corners = np.stack([ends[k : k + count] for k in range(4)]).reshape(4, -1)
    line = (_basis(steps) @ corners).reshape(steps, count, 2).transpose(1, 0, 2).reshape(-1, 2)
    return line if closed else np.concatenate([line, p[-1:]])


@functools.cache
def _basis(steps: int) -> Points:
    """Catmull-Rom weights (steps, 4) of the four corners around a segment."""
    t = np.arange(steps) / steps
    columns = (-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3)
    return 0.5 * np.stack(columns, 1)


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


def _blur(mask: Mask, edge: float) -> Mask:
    """A soft edge about ``edge`` pixels wide: box filters, which cost a quarter of a Gaussian of that variance."""
    variance = (0.8 * edge) ** 2
    passes = 1 if variance < 3 else 2
    size = 2 * round((math.sqrt(12 * variance / passes + 1) - 1) / 2) + 1
    for _ in range(passes if size > 1 else 0):
        mask = np.asarray(cv2.blur(mask, (size, size)), np.uint8)
    return mask


def _both(mask: Mask, other: Mask) -> Mask:
    return np.asarray(cv2.multiply(mask, other, scale=1 / 255), np.uint8)
