"""Numbers as people read them. What could not be computed (None) becomes a dash, never a zero."""

from __future__ import annotations

import math
from collections.abc import Sequence

NOTHING = "–"
_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def known(value: object) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def percent(value: object, digits: int = 1) -> str:
    """A fraction as '78.4%'. What rounds to 100 without being it is shown as more than 99.9."""
    number = known(value)
    if number is None:
        return NOTHING
    text = f"{100 * number:.{digits}f}"
    if number < 1 and float(text) == 100:
        return f">{100 - 10**-digits:.{digits}f}%"
    return f"{text}%"


def bare_percent(value: object) -> str:
    """A fraction as '78.4', for tables and charts that say per cent in their heading."""
    number = known(value)
    return NOTHING if number is None else f"{100 * number:.1f}"


def points(value: object) -> str:
    """A difference of fractions as '+3.1 points'; a true minus sign."""
    number = known(value)
    if number is None:
        return NOTHING
    sign = "+" if number >= 0 else "−"
    return f"{sign}{abs(100 * number):.1f} points"


def interval(pair: object) -> str:
    """(low, high) fractions as '74.8–83.9'; empty where there is none."""
    if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
        return ""
    low, high = known(pair[0]), known(pair[1])
    return "" if low is None or high is None else f"{100 * low:.1f}–{100 * high:.1f}"


def count(value: object) -> str:
    """A whole number with thin spaces between thousands; a mean of whole numbers keeps one digit."""
    number = known(value)
    if number is None:
        return NOTHING
    text = f"{number:,.0f}" if abs(number - round(number)) < 0.05 else f"{number:,.1f}"
    return text.replace(",", "\u202f")


def seconds(value: object) -> str:
    """A duration: '0.21 s', '48 s', '12 min 5 s', '2 h 3 min'."""
    number = known(value)
    if number is None:
        return NOTHING
    if number < 9.95:
        return f"{number:.2g} s" if number < 1 else f"{number:.1f} s"
    whole = round(number)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def data_size(value: object) -> str:
    """Bytes as '512 B', '84.0 kB' or '1.3 MB', of 1000 each."""
    number = known(value)
    if number is None:
        return NOTHING
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000 or unit == "GB":
            return f"{number:.0f} B" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    raise AssertionError("unreachable")


def scientific(value: object) -> str:
    """A small number as '3.1 × 10⁻⁶'."""
    number = known(value)
    if number is None:
        return NOTHING
    if number == 0:
        return "0"
    mantissa, exponent = f"{number:.1e}".split("e")
    raised = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{mantissa.replace('-', '−')} × 10{raised}"


def plural(value: int, one: str, many: str | None = None) -> str:
    """'1 hospital', '4 hospitals'."""
    return f"{count(value)} {one if value == 1 else many or one + 's'}"


def word(value: int) -> str:
    """Whole numbers up to twelve in words."""
    return _WORDS[value] if 0 <= value < len(_WORDS) else count(value)
