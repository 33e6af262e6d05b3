"""Who is summed with whom: silos in groups of at least four, so that whichever of them asks, three others remain.

The groups are the same for every querier, so that two of them who put their answers together learn no new sums.
A querier's panels are the groups without itself. Groups stay from one gallery epoch to the next, because a silo's
prototypes mostly do: what was summed before can be subtracted from what is summed now. Over all groups that one
release has seen, every linear combination other than zero must touch at least three silos. From that follows:
panels of consecutive epochs differ by no silo or by at least three, and nobody, knowing its own part, isolates a
silo. Where a newcomer, or one who stays behind when another leaves, would break the rule, it waits. A new release
starts afresh: every prototype is then another vector. One that comes back finds its own past again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, islice

from common.consortium.isolation import THREE, Span
from common.errors import DisclosureError

SMALLEST_GROUP = 4

Groups = tuple[tuple[str, ...], ...]

# How many choices of who waits are tried. A fixed number, so that every silo ends at the same arrangement.
_TRIES = 400


@dataclass(frozen=True)
class Arrangement:
    """All silos of an epoch: in ``groups`` (disjoint, sorted, each of at least four names) or ``waiting``."""

    groups: Groups
    waiting: tuple[str, ...]


def arrange(present: Iterable[str], *, groups: Groups = (), past: Groups = ()) -> Arrangement:
    """The arrangement of the silos that are present: as many groups, and as few waiting, as the rule allows.

    Args:
        groups: those to keep where they can be, disjoint, such as those of the epoch before.
        past: all that the same release has seen.

    Raises:
        DisclosureError: fewer than four silos, or no group that would not isolate one.
    """
    names = sorted(set(present), key=str.encode)
    if len(names) < SMALLEST_GROUP:
        raise DisclosureError(
            f"a consortium of {len(names)} silos has no panel: an answer would show what a single one said",
            remedy="rank over at least 3 silos besides the querier's",
        )
    seen = Span.of((*past, *groups))
    kept = [group for group in groups if set(group) <= set(names)]
    pool = [name for name in names if not any(name in group for group in kept)]
    chosen = next(
        (choice for choice in islice(_choices(pool, kept), _TRIES) if _allowed(seen, choice)), tuple(kept)
    )
    if not chosen:
        raise DisclosureError(
            f"no group of the {len(names)} silos present hides the one that came or left",
            remedy="wait for more silos, or open the epoch with a new release",
        )
    final = _split(chosen, seen)
    placed = {name for group in final for name in group}
    return Arrangement(_sorted(final), tuple(name for name in names if name not in placed))


def _choices(pool: Sequence[str], kept: Sequence[tuple[str, ...]]) -> Iterator[Groups]:
    """Arrangements of the pool beside the groups that stay: fewest waiting first, then most groups."""
    for left_out in range(len(pool) + 1):
        for waiting in combinations(reversed(pool), left_out):
            rest = [name for name in pool if name not in waiting]
            for count in range(len(rest) // SMALLEST_GROUP, 0, -1):
                yield (*kept, *_dealt(rest, count))
            if kept and len(rest) >= THREE:
                smallest = min(kept, key=lambda group: (len(group), group))
                yield (*(group for group in kept if group != smallest), (*smallest, *rest))


def _split(groups: Groups, seen: Span) -> Groups:
    """Groups that grew to eight or more fall into smaller ones where that isolates nobody."""
    for group in groups:
        if len(group) >= 2 * SMALLEST_GROUP:
            smaller = (
                *(other for other in groups if other != group),
                *_dealt(sorted(group, key=str.encode), len(group) // SMALLEST_GROUP),
            )
            if _allowed(seen, (*groups, *smaller)):
                groups = smaller
    return groups


def _dealt(names: Sequence[str], count: int) -> Iterator[tuple[str, ...]]:
    # Neighbours come apart, and with them those who shared a group before.
    return (tuple(names[start::count]) for start in range(count))


def _allowed(seen: Span, groups: Iterable[Collection[str]]) -> bool:
    span = seen.copy()
    for group in groups:
        span.add(dict.fromkeys(group, 1))
    return span.fewest() >= THREE


def _sorted(groups: Groups) -> Groups:
    return tuple(sorted(tuple(sorted(group, key=str.encode)) for group in groups))
