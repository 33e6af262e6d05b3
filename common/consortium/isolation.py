"""What sums reveal when they are added and subtracted: the exact rank test behind panels and galleries.

Whoever knows the sums over some sets knows every linear combination of them. A set is a vector of ones over its
members; what can be learnt is the span of those vectors. Arithmetic is rational, so no answer depends on rounding.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from fractions import Fraction

THREE = 3


def isolated(sets: Iterable[Collection[str]]) -> frozenset[str]:
    """The members that some linear combination of the sets' sums gives alone."""
    return Span.of(sets).isolated()


class Span:
    """The linear combinations of some vectors, kept as a reduced row echelon form.

    span = Span.of([{"a", "b", "c"}, {"a", "b"}])
    span.isolated()    frozenset({"c"})
    """

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, Fraction]] = {}

    @classmethod
    def of(cls, sets: Iterable[Collection[str]]) -> Span:
        """The span of the sets' indicator vectors."""
        span = cls()
        for members in sets:
            span.add(dict.fromkeys(members, 1))
        return span

    def copy(self) -> Span:
        """A span that can grow without this one."""
        other = Span()
        other._rows = dict(self._rows)
        return other

    def add(self, vector: Mapping[str, int]) -> None:
        """Take in one more vector, given by its entries that are not zero."""
        rest = {name: Fraction(value) for name, value in vector.items() if value}
        for pivot in [name for name in rest if name in self._rows]:
            rest = _less(rest, self._rows[pivot], rest[pivot])
        if not rest:
            return
        new = min(rest)
        row = {name: value / rest[new] for name, value in rest.items()}
        for pivot, old in self._rows.items():
            if new in old:
                self._rows[pivot] = _less(old, row, old[new])
        self._rows[new] = row

    def isolated(self) -> frozenset[str]:
        """The members whose unit vector lies in the span."""
        # A unit vector in the span has one entry at a pivot, hence is that pivot's row.
        return frozenset(pivot for pivot, row in self._rows.items() if len(row) == 1)

    def fewest(self) -> int:
        """The fewest members that a combination other than zero touches: 1, 2, or 3 for three and more.

        With 3, whoever knows one member beforehand, such as itself, still isolates nobody.
        """
        if not self._rows:
            return THREE
        shortest = min(len(row) for row in self._rows.values())
        if shortest < THREE:
            return shortest
        # Two members only: both at pivots, so the rest of their two rows must cancel.
        free = [_direction(row, pivot) for pivot, row in self._rows.items()]
        return THREE if len(set(free)) == len(free) else THREE - 1


def _less(vector: dict[str, Fraction], other: Mapping[str, Fraction], times: Fraction) -> dict[str, Fraction]:
    difference = dict(vector)
    for name, value in other.items():
        left = difference.get(name, Fraction(0)) - times * value
        if left:
            difference[name] = left
        else:
            difference.pop(name, None)
    return difference


def _direction(row: Mapping[str, Fraction], pivot: str) -> tuple[tuple[str, Fraction], ...]:
    free = sorted((name, value) for name, value in row.items() if name != pivot)
    return tuple((name, value / free[0][1]) for name, value in free)
