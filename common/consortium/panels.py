"""A querier's panels in a gallery epoch: the epoch's groups without the querier."""

from __future__ import annotations

from dataclasses import dataclass

from common.consortium.gallery_epoch import GalleryEpoch
from common.consortium.groups import SMALLEST_GROUP, Groups
from common.consortium.isolation import isolated
from common.errors import DisclosureError


@dataclass(frozen=True)
class Division:
    """One querier's ``panels`` (disjoint, each of three names or more), and who waits for a later epoch."""

    panels: Groups
    waiting: tuple[str, ...]


def divide(epoch: GalleryEpoch, querier: str, previous: GalleryEpoch | None = None) -> Division:
    """The panels that ``querier`` may ask in an epoch. A silo that waits may ask too.

    Args:
        previous: the epoch before, as the caller knows it; the panels of both together must isolate nobody.

    Raises:
        DisclosureError: the querier has no part in the epoch, or a silo would be isolated.
    """
    panels = _panels(epoch, querier)
    if panels is None:
        raise DisclosureError(
            f"{querier} has no part in gallery epoch {epoch.number}", remedy="ask again in the next epoch"
        )
    if any(len(panel) < SMALLEST_GROUP - 1 for panel in panels):
        raise DisclosureError("a panel has fewer than 3 silos", remedy="refuse this epoch")
    before = _panels(previous, querier) if previous and previous.release == epoch.release else None
    if isolated((*panels, *(before or ()), (querier,))) - {querier}:
        raise DisclosureError("this epoch and the one before isolate a silo", remedy="refuse this epoch")
    return Division(panels, epoch.waiting)


def _panels(epoch: GalleryEpoch, querier: str) -> Groups | None:
    if querier not in {card.name for card in epoch.participants} and querier not in epoch.waiting:
        return None
    return tuple(tuple(name for name in group if name != querier) for group in epoch.groups)
