"""A key epoch: one querier's keys, the layouts they serve, and the terms that every message under them comes with.

Keys know nothing of panels and galleries. They are sent once to each silo; each query then names the keys, the
layout and the panel, and the panel's digest covers the gallery epoch.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from common.consortium.identity import Card
from common.encryption.closed_rows import sealed_bytes
from common.encryption.envelope import NOTHING, Kind, Terms
from common.encryption.layout import Layout
from common.encryption.panel import Panel
from common.encryption.parameters import Parameters
from common.encryption.sizes import answer_bytes, keys_bytes, query_bytes
from common.errors import EncryptionError

MAX_NUMBER = (1 << 32) - 1


@dataclass(frozen=True)
class KeyEpoch:
    """What querier and silos know before the first key is made.

    Attributes:
        querier: its card as pinned from the roster.
        number: from 1, higher for every rotation.
        layouts: those that the keys hold rotations for, of one set of parameters.

    Raises:
        EncryptionError: no layout, layouts of different parameters, or a number out of range.
    """

    querier: Card
    number: int
    layouts: tuple[Layout, ...]

    def __post_init__(self) -> None:
        if len({layout.parameters for layout in self.layouts}) != 1:
            raise EncryptionError(
                "the layouts of a key epoch differ in parameters", remedy="negotiate a key epoch for each"
            )
        if not 1 <= self.number <= MAX_NUMBER:
            raise EncryptionError(f"a key epoch numbered {self.number}", remedy="count key epochs from 1")

    @property
    def parameters(self) -> Parameters:
        """Those of every layout."""
        return self.layouts[0].parameters

    @property
    def rotations(self) -> list[int]:
        """Every rotation that any of the layouts needs, ascending."""
        return sorted({step for layout in self.layouts for step in layout.rotations})

    @property
    def digest(self) -> bytes:
        """(32 bytes) over querier, number and layouts with their parameters."""
        keys = self.querier.fingerprint + self.number.to_bytes(4, "big")
        served = self.parameters.digest + self._layouts_digest
        return hashlib.sha256(b"phenofed key epoch 2" + keys + served).digest()

    def key_id(self, payload: bytes) -> bytes:
        """(32 bytes) the fingerprint of public keys and of what they are for; message id of the KEYS envelope."""
        return hashlib.sha256(b"phenofed keys 2" + self.digest + hashlib.sha256(payload).digest()).digest()

    def keys_terms(self) -> Terms:
        """What the querier's public keys come under."""
        length = keys_bytes(self.rotations, self.parameters)
        return Terms(Kind.KEYS, self.parameters.digest, self._layouts_digest, NOTHING, self.digest, length)

    def query_terms(self, layout: Layout, panel: Panel, key_id: bytes) -> Terms:
        """What a query to one panel comes under."""
        length = query_bytes(self.parameters)
        return Terms(Kind.QUERY, self.parameters.digest, layout.digest, panel.digest, key_id, length)

    def answer_terms(self, layout: Layout, panel: Panel, key_id: bytes) -> Terms:
        """What an answer comes under: all blocks, then the closed rows, sealed."""
        length = answer_bytes(layout) + sealed_bytes(layout.rows)
        return Terms(Kind.ANSWER, self.parameters.digest, layout.digest, panel.digest, key_id, length)

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``from_json``."""
        layouts = [layout.to_json() for layout in self.layouts]
        return {"querier": self.querier.to_json(), "number": self.number, "layouts": layouts}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> KeyEpoch:
        """The key epoch that ``to_json`` described."""
        layouts = tuple(Layout.from_json(layout) for layout in data["layouts"])
        return cls(Card.from_json(data["querier"]), data["number"], layouts)

    @property
    def _layouts_digest(self) -> bytes:
        return hashlib.sha256(b"".join(layout.digest for layout in self.layouts)).digest()
