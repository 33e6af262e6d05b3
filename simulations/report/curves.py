"""Learning curves: a line for each training or hospital over the rounds, from zero, named at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from simulations.report.numbers import known
from simulations.report.svg import chart, element, line, shortened, text, tick_label, ticks

WIDTH, HEIGHT = 380.0, 236.0
LEFT, RIGHT, TOP, BOTTOM = 38.0, 276.0, 12.0, 198.0
NAMED = 6
Values = Sequence[float | None]


@dataclass(frozen=True)
class Line:
    """One line. ``style``: a mode, which gives the colour. ``values``: one a round; None leaves a gap."""

    label: str
    style: str
    values: Values
    faint: bool = False


def learning_curve(
    name: str, title: str, unit: str, rounds: Sequence[int], lines: Sequence[Line], *, phase: int | None = None
) -> Markup:
    """A chart of ``lines`` over ``rounds``; ``phase``: the last round of the warm-up, marked."""
    numbers = [value for item in lines for value in map(known, item.values) if value is not None]
    scale = ticks(max(numbers, default=1.0))
    place = _Scale(rounds, scale[-1])
    marks = [mark for value in scale for mark in _level(value, place, scale)]
    for number in _shown_rounds(rounds):
        marks.append(text(place.x(number), BOTTOM + 16, str(number), anchor="middle"))
    marks.append(text((LEFT + RIGHT) / 2, BOTTOM + 33, "round", anchor="middle"))
    marks.append(text(RIGHT + 8, TOP + 3, unit))
    if phase is not None and rounds and rounds[0] <= phase < rounds[-1]:
        x = place.x(phase + 0.5)
        marks.append(line(x, TOP, x, BOTTOM, "guess"))
        marks.append(text(x + 4, BOTTOM - 5, "episodes"))
    for item in sorted(lines, key=lambda item: not item.faint):
        marks += _drawn(item, rounds, place)
    marks += _names([item for item in lines if not item.faint], place)
    return chart(name, title, _describe(lines, unit), WIDTH, HEIGHT, marks)


@dataclass(frozen=True)
class _Scale:
    rounds: Sequence[int]
    top: float

    def x(self, number: float) -> float:
        first, last = (self.rounds[0], self.rounds[-1]) if self.rounds else (0, 1)
        return (LEFT + RIGHT) / 2 if first == last else LEFT + (number - first) / (last - first) * (RIGHT - LEFT)

    def y(self, value: float) -> float:
        return BOTTOM - value / self.top * (BOTTOM - TOP)


def _level(value: float, place: _Scale, scale: Sequence[float]) -> list[Markup]:
    y = place.y(value)
    return [
        line(LEFT, y, RIGHT, y, "axis" if value == 0 else "grid"),
        text(LEFT - 6, y + 4, tick_label(value, scale[1]), anchor="end"),
    ]


def _shown_rounds(rounds: Sequence[int]) -> list[int]:
    if len(rounds) <= 10:
        return list(rounds)
    step = -(-len(rounds) // 8)
    return [number for index, number in enumerate(rounds) if index % step == 0]


def _drawn(item: Line, rounds: Sequence[int], place: _Scale) -> list[Markup]:
    """Unbroken pieces as lines; a value without neighbours as a dot."""
    pieces: list[list[tuple[float, float]]] = [[]]
    for number, value in zip(rounds, item.values, strict=False):
        shown = known(value)
        if shown is None:
            pieces.append([])
        else:
            pieces[-1].append((place.x(number), place.y(max(shown, 0.0))))
    marks = []
    for piece in filter(None, pieces):
        if len(piece) == 1:
            marks.append(element("circle", cx=piece[0][0], cy=piece[0][1], r=3, class_=f"fill {item.style}"))
        else:
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in piece)
            faint = " faint" if item.faint else ""
            marks.append(element("polyline", points=points, class_=f"curve {item.style}{faint}"))
    return marks


def _names(lines: Sequence[Line], place: _Scale) -> list[Markup]:
    """Each line's name beside its last value, moved apart where they would cover each other."""
    ends = [(place.y(max(last, 0.0)), item) for item in lines if (last := _last(item.values)) is not None]
    ends.sort(key=lambda end: end[0])
    marks, lowest = [], TOP + 6.0
    room = BOTTOM - 15.0 * (len(ends) - 1)
    for y, item in ends:
        lowest = max(min(y, room), lowest)
        marks.append(element("circle", cx=RIGHT + 11, cy=lowest, r=3.5, class_=f"fill {item.style}"))
        marks.append(text(RIGHT + 19, lowest + 4, shortened(item.label, 13), class_=f"label {item.style}"))
        lowest, room = lowest + 15.0, room + 15.0
    return marks


def _last(values: Values) -> float | None:
    return next((number for value in reversed(values) if (number := known(value)) is not None), None)


def _describe(lines: Sequence[Line], unit: str) -> str:
    parts = []
    for item in lines:
        numbers = [number for value in item.values if (number := known(value)) is not None]
        if numbers:
            parts.append(f"{item.label}: {unit} from {numbers[0]:.3g} to {numbers[-1]:.3g}")
    return "; ".join(parts) + "."


def mean(values: Sequence[Mapping[str, object]]) -> list[float | None]:
    """For each round the mean of its known numbers, None where there is none."""
    result: list[float | None] = []
    for row in values:
        numbers = [number for value in row.values() if (number := known(value)) is not None]
        result.append(sum(numbers) / len(numbers) if numbers else None)
    return result
