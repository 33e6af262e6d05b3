"""When a gallery row may change: never so that two epochs, subtracted, single out fewer than three patients.

A row is the mean of a set of patients. Whoever asks before and after a change learns the difference of the two
sets, and every combination of such differences. Under one release, all of them must touch three patients or more.

    the set is as served                                    it stays
    it would touch three or more                            it is built anew
    fewer, patients were only added                         the additions wait, the old set stays
    fewer, somebody withdrew                                a veto: the syndrome is unanswered in the consortium

The first sets of a release are free: every vector is new then. A syndrome that a silo takes up later was the empty
set before, and so starts with three patients.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from common.consortium.isolation import THREE, Span

Patients = frozenset[str]


class Change(StrEnum):
    """What happens to one row when an epoch opens."""

    KEEP = "keep"
    REBUILD = "rebuild"
    WAIT = "wait"
    VETO = "veto"


def change(current: Patients, served: Sequence[Patients], *, intact: bool) -> Change:
    """What the rule says.

    Args:
        current: those who may be matched now.
        served: all sets that were served under this release, the newest last; none when the release is new.
        intact: whether the newest set can be served as it was, embedding for embedding. Equal sets are not
            enough: a photo more in one of their patients is a difference in that patient alone.
    """
    if not served:
        return Change.REBUILD
    newest = served[-1]
    if current == newest and intact:
        return Change.KEEP
    if all(len(current ^ earlier) >= THREE for earlier in served) and _fewest([*served, current]) >= THREE:
        return Change.REBUILD
    return Change.WAIT if current >= newest and intact else Change.VETO


def _fewest(served: Sequence[Patients]) -> int:
    span = Span()
    for later in served[1:]:
        first = served[0]
        span.add({**dict.fromkeys(later - first, 1), **dict.fromkeys(first - later, -1)})
    return span.fewest()
