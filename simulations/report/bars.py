"""Bars of top-k accuracy: one chart a setting, a bar a mode, whiskers for intervals, a mark for guessing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from simulations.report.numbers import bare_percent, known
from simulations.report.svg import chart, element, line, text

WIDTH, LEFT, RIGHT = 380.0, 92.0, 322.0
ROW, BAR, HEADING = 19.0, 11.0, 24.0
TOP = (1, 5, 10)


def top_k_bars(
    setting: str,
    figures: Mapping[str, Mapping[str, Any]],
    intervals: Mapping[str, Mapping[str, Any]],
    labels: Mapping[str, str],
) -> Markup:
    """A chart of one setting.

    Args:
        figures: mode -> top1, top5, top10 as fractions, and classes; modes in the order to show.
        intervals: mode -> top-k -> (low, high).
        labels: mode -> its name on the page.
    """
    marks: list[Markup] = []
    classes = max((known(row.get("classes")) or 0 for row in figures.values()), default=0)
    # Where k reaches the number of syndromes every list holds the true one.
    shown = [k for k in TOP if k < classes] or [1]
    bottom = len(shown) * (HEADING + ROW * len(figures)) + 4
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = _x(share)
        marks.append(line(x, 10, x, bottom, "axis" if share == 0 else "grid"))
        marks.append(text(x, bottom + 15, f"{share:.0%}" if share in (0, 0.5, 1) else "", anchor="middle"))
    y = 0.0
    for k in shown:
        marks.append(text(0, y + 16, f"top-{k}", class_="group"))
        y += HEADING
        start = y
        for mode, row in figures.items():
            marks += _bar(y, mode, labels[mode], row.get(f"top{k}"), intervals.get(mode, {}).get(f"top{k}"))
            y += ROW
        marks.append(_guessing(k, classes, start, y))
    name = f"bars-{setting.replace('/', '-').lower()}"
    return chart(name, f"Top-k accuracy, {setting}", _describe(figures, labels), WIDTH, bottom + 20, marks)


def _bar(y: float, mode: str, label: str, value: object, bounds: Sequence[object] | None) -> list[Markup]:
    middle = y + ROW / 2
    marks = [text(LEFT - 6, middle + 4, label, anchor="end", class_=f"label {mode}")]
    number = known(value)
    marks.append(text(WIDTH, middle + 4, bare_percent(value), anchor="end", class_=f"value {mode}"))
    if number is None:
        return marks
    width = max(_x(number) - LEFT, 0.5)
    marks.append(element("rect", x=LEFT, y=middle - BAR / 2, width=width, height=BAR, class_=f"fill {mode}"))
    low, high = (known(bounds[0]), known(bounds[1])) if bounds and len(bounds) == 2 else (None, None)
    if low is not None and high is not None:
        left, right = _x(low), _x(high)
        path = f"M{left:.1f} {middle - 3.5:.1f}v7m0-3.5H{right:.1f}m0-3.5v7"
        marks += [element("path", d=path, class_=name) for name in ("halo", "whisker")]
    return marks


def _guessing(k: int, classes: float, top: float, bottom: float) -> Markup:
    """A dotted line where a ranking by chance would end."""
    if not classes:
        return Markup("")
    x = _x(k / classes)
    return line(x, top, x, bottom, "guess")


def _x(share: float) -> float:
    return LEFT + min(max(share, 0.0), 1.0) * (RIGHT - LEFT)


def _describe(figures: Mapping[str, Mapping[str, Any]], labels: Mapping[str, str]) -> str:
    parts = [
        f"{labels[mode]}: " + ", ".join(f"top-{k} {bare_percent(row.get(f'top{k}'))} per cent" for k in TOP)
        for mode, row in figures.items()
    ]
    return "; ".join(parts) + ". The table below holds the same figures with their intervals."
