"""What a silo serves in one gallery epoch: a prepared gallery for each layout, the noise, and the rows closed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from common.encryption.gallery_rows import GalleryRows
from common.encryption.layout import Layout
from common.encryption.sanitise import Noise
from common.encryption.worker import Workers
from common.errors import EncryptionError


@dataclass(frozen=True)
class ServedGallery:
    """A state of it; changes give a new one. The worker prepares equal content for one layout once.

    Attributes:
        galleries: content by layout.
        noise: what every answer takes.
        closed: rows that no answer may show; they are drowned and named to the querier.
    """

    galleries: Mapping[Layout, GalleryRows]
    noise: Noise
    closed: frozenset[int] = frozenset()

    @cached_property
    def names(self) -> dict[Layout, str]:
        """The worker's name for each gallery: by its content, so that no version can be mistaken for another."""
        return {layout: f"gallery/{_digest(layout, rows)}" for layout, rows in self.galleries.items()}

    def prepare(self, worker: Workers) -> None:
        """Have every gallery prepared.

        Raises:
            EncryptionError: content that does not fit its layout, or the worker ended over it; nothing is kept.
        """
        done: list[str] = []
        try:
            for layout, rows in self.galleries.items():
                name = self.names[layout]
                rest, parts = rows.to_parts()
                data = {"name": name, "layout": layout.to_json(), "rows": rest}
                worker.setup(name, b"gallery", json.dumps(data).encode(), *parts)
                done.append(name)
        except BaseException:
            for name in done:
                worker.forget(name)
            raise

    def forget(self, worker: Workers) -> None:
        """Let the worker drop what ``prepare`` had it prepare."""
        for name in self.names.values():
            worker.forget(name)

    def closing(self, rows: Iterable[int]) -> ServedGallery:
        """The same galleries with more rows closed.

        Raises:
            EncryptionError: a row that a layout does not have.
        """
        closed = self.closed | frozenset(rows)
        for layout in self.galleries:
            if any(not 0 <= row < layout.rows for row in closed):
                raise EncryptionError("a row to close is not in the gallery", remedy="close rows of the registry")
        return dataclasses.replace(self, closed=closed)

    def without_closed(self) -> ServedGallery:
        """The galleries with the closed rows taken out."""
        galleries = {layout: rows.without(self.closed) for layout, rows in self.galleries.items()}
        return dataclasses.replace(self, galleries=galleries)


def _digest(layout: Layout, rows: GalleryRows) -> str:
    rest, parts = rows.to_parts()
    digest = hashlib.sha256(b"phenofed gallery 1" + layout.digest)
    for part in (json.dumps(rest).encode(), *parts):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()
