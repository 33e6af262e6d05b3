"""Small cells of a published table: counts of fewer than five patients, and what would give them away.

Totals are published too, and one total serves several tables. So whenever a count below five is hidden, one
more row is: the first of the others in the table's own order, whatever its count. The rule looks at nothing but
which counts are small and at the sum of what is hidden, so that for each hidden count all values from 1 to 4 would
have given the same table. Where that sum is too low for it, the whole table is left out.
(Complementary suppression; Willenborg and de Waal, Elements of Statistical Disclosure Control, 2001.)
"""

from __future__ import annotations

from collections.abc import Mapping

LEAST = 5
SMALL, HELD_BACK = f"<{LEAST}", "not shown"


def shown(count: int) -> str:
    """One count alone."""
    return SMALL if 0 < count < LEAST else str(count)


def shown_table(counts: Mapping[str, int]) -> dict[str, str] | None:
    """The rows of a table as text, or None where it must be left out.

    Args:
        counts: patients by row, in an order that does not depend on them; their sum may be published.
    """
    small = [row for row, count in counts.items() if 0 < count < LEAST]
    if not small:
        return {row: str(count) for row, count in counts.items()}
    also = next((row for row, count in counts.items() if count >= LEAST), None)
    if also is None:
        return None
    # One small count at 4, the others at 1, the row that is held back at 5.
    if sum(counts[row] for row in (*small, also)) < (LEAST - 1) + (len(small) - 1) + LEAST:
        return None
    return {row: HELD_BACK if row == also else shown(count) for row, count in counts.items()}
