"""The querier's side of a key epoch: its worker, and the envelopes around what the worker makes."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from common.consortium.identity import Member
from common.encryption.envelope import SIGNATURE_BYTES, seal
from common.encryption.epoch import Epoch
from common.encryption.masks import transcript
from common.encryption.refusal import refused
from common.encryption.worker import Worker
from common.errors import EncryptionError


@dataclass(frozen=True)
class Query:
    """A query on its way: the envelope for every silo alike, and what its answers must be bound to."""

    envelope: bytes
    layout: int
    count: int
    bound_to: bytes


class QuerierSession:
    """One querier in one key epoch. Keys are made in the worker and never leave it.

    Args:
        member: the querier's own identity.
        epoch: with the panel that it asks.
        worker: its own, shared with nobody.

    Attributes:
        keys: the KEYS envelope for the silos.
    """

    def __init__(self, member: Member, epoch: Epoch, worker: Worker) -> None:
        self._member, self._epoch, self._worker = member, epoch, worker
        (payload,) = worker.call(b"begin", json.dumps(epoch.to_json()).encode())
        self._generation = worker.generation
        self._key_id = epoch.key_id(payload)
        self.keys = seal(payload, epoch.keys_terms(), member, self._key_id)

    @property
    def ended(self) -> bool:
        """Whether the worker was lost, and the keys with it: time for a new epoch."""
        return self._worker.process_id is None or self._worker.generation != self._generation

    def ask(self, queries: npt.NDArray[np.floating], layout: int = 0) -> Query:
        """An encrypted query of (n, d) unit embeddings, n at most what the layout holds.

        Raises:
            EncryptionError: they do not fit the layout, or the keys are lost.
        """
        self._require_keys()
        used = self._epoch.layouts[layout]
        data = {"layout": layout, "shape": list(queries.shape)}
        content = np.ascontiguousarray(queries, "<f8").tobytes()
        (payload,) = self._worker.call(b"encrypt", json.dumps(data).encode(), content)
        terms = self._epoch.query_terms(used, self._key_id)
        envelope = seal(payload, terms, self._member, secrets.token_bytes(32))
        signed = envelope[:-SIGNATURE_BYTES]
        bound_to = transcript(signed, panel=self._epoch.panel.digest, layout=used.digest)
        return Query(envelope, layout, len(queries), bound_to)

    def scores(self, query: Query, answers: Mapping[str, bytes]) -> npt.NDArray[np.float64]:
        """(n, S) float64: the panel's sum, rounded.

        Args:
            answers: envelope by silo name, one from every silo of the panel.

        Raises:
            EncryptionError: an answer is missing or refused, or the keys are lost.
        """
        self._require_keys()
        missing = [card.name for card in self._epoch.panel.members if card.name not in answers]
        if missing:
            raise EncryptionError(
                f"no answer from {', '.join(missing)}", remedy="an incomplete panel gives nothing; ask again later"
            )
        envelopes = [answers[card.name] for card in self._epoch.panel.members]
        data = json.dumps({"layout": query.layout}).encode()
        (content,) = self._worker.call(b"scores", data, query.bound_to, *envelopes)
        layout = self._epoch.layouts[query.layout]
        if len(content) != layout.queries * layout.rows * 8:
            raise refused()
        return np.frombuffer(content, "<f8").reshape(layout.queries, layout.rows)[: query.count]

    def _require_keys(self) -> None:
        if self.ended:
            raise EncryptionError(
                "the querier's worker ended and its keys with it", remedy="begin a new key epoch"
            )
