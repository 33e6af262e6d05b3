"""Encrypted against clear scores: the pairs themselves, and how far they lie apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from simulations.report.numbers import known, scientific
from simulations.report.svg import chart, element, line, text, tick_label, ticks

WIDTH, HEIGHT = 380.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 56.0, 362.0, 14.0, 254.0
Pairs = Sequence[tuple[float, float]]


def finite_pairs(pairs: object) -> list[tuple[float, float]]:
    """(clear, encrypted) pairs of which both are numbers."""
    result = []
    for pair in pairs if isinstance(pairs, Sequence) else ():
        if isinstance(pair, Sequence) and len(pair) == 2:
            clear, secret = known(pair[0]), known(pair[1])
            if clear is not None and secret is not None:
                result.append((clear, secret))
    return result


def agreement_scatter(pairs: Pairs) -> Markup:
    """Encrypted score over clear score, and the line on which they are equal."""
    both = _Axis.around([value for pair in pairs for value in pair])
    area = _Area(both, both)
    marks = area.frame("score in clear", "score under encryption")
    marks.append(line(area.x(both.low), area.y(both.low), area.x(both.high), area.y(both.high), "guess"))
    marks.append(area.dots(pairs))
    said = f"{len(pairs)} pairs of scores lie along the line on which encrypted and clear scores are equal."
    return chart("scatter", "Encrypted against clear scores", said, WIDTH, HEIGHT, marks)


def difference_scatter(pairs: Pairs, largest: object) -> Markup:
    """Encrypted minus clear over the clear score, with the largest difference of all queries as lines."""
    apart = [(clear, secret - clear) for clear, secret in pairs]
    bound = known(largest) or 0.0
    top = max([bound, *(abs(value) for _, value in apart), 1e-12])
    area = _Area(_Axis.around([clear for clear, _ in pairs]), _Axis.around([-top, top]))
    marks = area.frame("score in clear", "encrypted − clear")
    marks.append(line(LEFT, area.y(0), RIGHT, area.y(0), "axis"))
    if bound:
        marks += [line(LEFT, area.y(side), RIGHT, area.y(side), "guess") for side in (-bound, bound)]
    marks.append(area.dots(apart))
    said = f"All differences lie within {scientific(largest)} of zero."
    return chart("differences", "Encrypted minus clear scores", said, WIDTH, HEIGHT, marks)


@dataclass(frozen=True)
class _Axis:
    """Round bounds, and the step between ticks."""

    low: float
    high: float
    step: float

    @classmethod
    def around(cls, values: Sequence[float]) -> _Axis:
        low, high = min(values, default=0.0), max(values, default=1.0)
        step = ticks(max(high - low, 1e-12))[1]
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        return cls(first * step, max(last, first + 1) * step, step)

    def ticks(self) -> list[float]:
        return [self.low + index * self.step for index in range(round((self.high - self.low) / self.step) + 1)]

    def label(self, value: float) -> str:
        if self.step >= 1e-3 or abs(value) < self.step / 1e6:
            return tick_label(value, self.step)
        return f"{value:.0e}".replace("e-0", "e-").replace("-", "−")

    def share(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low)


class _Area:
    """Where numbers lie on the chart."""

    def __init__(self, across: _Axis, up: _Axis) -> None:
        self._across, self._up = across, up

    def x(self, value: float) -> float:
        return LEFT + self._across.share(value) * (RIGHT - LEFT)

    def y(self, value: float) -> float:
        return BOTTOM - self._up.share(value) * (BOTTOM - TOP)

    def frame(self, below: str, beside: str) -> list[Markup]:
        marks = []
        for value in self._across.ticks():
            x = self.x(value)
            marks.append(line(x, TOP, x, BOTTOM, "grid"))
            marks.append(text(x, BOTTOM + 16, self._across.label(value), anchor="middle"))
        for value in self._up.ticks():
            y = self.y(value)
            marks.append(line(LEFT, y, RIGHT, y, "grid"))
            marks.append(text(LEFT - 6, y + 4, self._up.label(value), anchor="end"))
        marks.append(text((LEFT + RIGHT) / 2, BOTTOM + 34, below, anchor="middle"))
        turn = f"translate(9 {(TOP + BOTTOM) / 2:.0f}) rotate(-90)"
        marks.append(element("text", beside, transform=turn, text_anchor="middle", class_="tick"))
        return marks

    def dots(self, pairs: Pairs) -> Markup:
        """One path of round dots: thousands of circles would weigh ten times as much."""
        path = "".join(f"M{self.x(x):.1f} {self.y(y):.1f}h0" for x, y in pairs)
        return element("path", d=path, class_="dots encrypted")
