"""A key epoch: one panel, the layouts it negotiated, and the terms that every message of it comes under."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from common.encryption.envelope import Kind, Terms
from common.encryption.layout import Layout
from common.encryption.panel import Panel
from common.encryption.parameters import Parameters
from common.encryption.sizes import answer_bytes, keys_bytes, query_bytes
from common.errors import EncryptionError

_NO_KEY = bytes(32)


@dataclass(frozen=True)
class Epoch:
    """What querier and silos know before the first key is made.

    Raises:
        EncryptionError: no layout, or layouts of different parameters.
    """

    panel: Panel
    layouts: tuple[Layout, ...]

    def __post_init__(self) -> None:
        if len({layout.parameters for layout in self.layouts}) != 1:
            raise EncryptionError("the layouts of an epoch differ in parameters", remedy="negotiate one set")

    @property
    def parameters(self) -> Parameters:
        """Those of every layout."""
        return self.layouts[0].parameters

    @property
    def rotations(self) -> list[int]:
        """Every rotation that any of the layouts needs, ascending."""
        return sorted({step for layout in self.layouts for step in layout.rotations})

    @property
    def layouts_digest(self) -> bytes:
        """(32 bytes) over all layouts, in order."""
        return hashlib.sha256(b"".join(layout.digest for layout in self.layouts)).digest()

    def key_id(self, payload: bytes) -> bytes:
        """(32 bytes) the fingerprint of public keys and of what they are for; message id of the KEYS envelope."""
        body = hashlib.sha256(payload).digest()
        return hashlib.sha256(
            b"phenofed keys 1" + self.parameters.digest + self.layouts_digest + self.panel.digest + body
        ).digest()

    def keys_terms(self) -> Terms:
        """What the querier's public keys come under."""
        length = keys_bytes(self.rotations, self.parameters)
        return self._terms(Kind.KEYS, self.layouts_digest, _NO_KEY, length)

    def query_terms(self, layout: Layout, key_id: bytes) -> Terms:
        """What a query comes under."""
        return self._terms(Kind.QUERY, layout.digest, key_id, query_bytes(self.parameters))

    def answer_terms(self, layout: Layout, key_id: bytes) -> Terms:
        """What an answer comes under."""
        return self._terms(Kind.ANSWER, layout.digest, key_id, answer_bytes(layout))

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``from_json``; parameters are the default ones."""
        layouts = [[layout.dimension, layout.rows, layout.queries] for layout in self.layouts]
        return {"panel": self.panel.to_json(), "layouts": layouts}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Epoch:
        """The epoch that ``to_json`` described."""
        return cls(Panel.from_json(data["panel"]), tuple(Layout(*sizes) for sizes in data["layouts"]))

    def _terms(self, kind: Kind, layout: bytes, key_id: bytes, length: int) -> Terms:
        return Terms(kind, self.parameters.digest, layout, self.panel.digest, key_id, length)
