"""Inline SVG: elements whose every attribute and text is escaped, and the axes that charts share.

Colours come from classes of the page's style sheet, so that charts follow the light and the dark scheme.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from markupsafe import Markup, escape


def element(tag: str, *children: str, **attributes: object) -> Markup:
    """``<tag ...>children</tag>``. Plain strings are escaped; ``class_`` is class, ``_`` in names is ``-``."""
    shown = Markup("").join(
        Markup(' {}="{}"').format(name.rstrip("_").replace("_", "-"), _plain(value))
        for name, value in attributes.items()
        if value is not None
    )
    inside = Markup("").join(escape(child) for child in children)
    return Markup("<{}{}>{}</{}>").format(tag, shown, inside, tag)


def chart(name: str, title: str, description: str, width: float, height: float, marks: Iterable[str]) -> Markup:
    """An ``svg`` of that many units that screen readers announce by title and description."""
    return element(
        "svg",
        element("title", title, id=f"{name}-title"),
        element("desc", description, id=f"{name}-desc"),
        *marks,
        viewBox=f"0 0 {_plain(width)} {_plain(height)}",
        role="img",
        aria_labelledby=f"{name}-title {name}-desc",
        class_="chart",
    )


def text(x: float, y: float, content: str, *, anchor: str = "start", class_: str = "tick") -> Markup:
    """One line of text."""
    return element("text", content, x=x, y=y, text_anchor=anchor, class_=class_)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """A straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def ticks(top: float, wanted: int = 4) -> list[float]:
    """Round values from 0 to at least ``top``, about ``wanted`` steps."""
    if not top > 0 or not math.isfinite(top):
        return [0.0, 1.0]
    rough = top / wanted
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * size for factor in (1, 2, 5, 10) if factor * size >= rough * (1 - 1e-9))
    return [index * step for index in range(math.ceil(top / step - 1e-9) + 1)]


def tick_label(value: float, step: float) -> str:
    """A tick's number with as many decimals as its step needs, and a true minus sign."""
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value:.{digits}f}".replace("-", "−") if abs(value) > step / 1e6 else "0"


def shortened(name: str, length: int) -> str:
    """A name cut to at most ``length`` characters, with an ellipsis."""
    return name if len(name) <= length else name[: max(length - 1, 1)].rstrip() + "…"


def _plain(value: object) -> str:
    """Floats with two decimals at most: a hundredth of a unit is not seen."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
