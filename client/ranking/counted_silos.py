"""For which silos together this one has given counts: never so that sums, subtracted, show what one silo holds.

The groups of open epochs keep that rule by themselves. Epochs that were proposed and never opened do not: whoever
proposed them has their counts all the same.
"""

from __future__ import annotations

import json
from pathlib import Path

from common.consortium.gallery_epoch import GalleryEpoch
from common.consortium.isolation import THREE, Span
from common.errors import AgentError, DisclosureError
from common.storage import write_json


class CountedSilos:
    """The sets of participants, by release: a new one makes all counts other counts.

    Args:
        path: of the file that keeps them.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def check(self, epoch: GalleryEpoch) -> None:
        """Check that counts for an epoch would show no silo's own.

        Raises:
            DisclosureError: together with counts given before, they would.
        """
        self._with(epoch)

    def keep(self, epoch: GalleryEpoch) -> None:
        """``check``, and remember, before counts are given."""
        known, after = self._read(), self._with(epoch)
        if after != known:
            write_json(self._path, after)

    def _with(self, epoch: GalleryEpoch) -> dict[str, list[list[str]]]:
        known, names = self._read(), sorted(card.name for card in epoch.participants)
        before = known.get(epoch.release, [])
        if names in before:
            return known
        if Span.of((*before, names)).fewest() < THREE:
            raise DisclosureError(
                f"counts for gallery epoch {epoch.number} and those of one before would show what a silo holds",
                remedy="propose it with the same silos as before, or with a new release",
            )
        return {**known, epoch.release: [*before, names]}

    def _read(self) -> dict[str, list[list[str]]]:
        try:
            return {
                str(key): [list(names) for names in sets]
                for key, sets in json.loads(self._path.read_text()).items()
            }
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise AgentError(f"{self._path} is damaged", remedy="restore it, or wait for a new release") from error
