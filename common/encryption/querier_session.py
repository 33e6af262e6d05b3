"""The querier's side of a key epoch: its worker, and the envelopes around what the worker makes."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from common.consortium.identity import Member
from common.encryption.closed_rows import closed_key
from common.encryption.envelope import SIGNATURE_BYTES, seal, unseal
from common.encryption.key_epoch import KeyEpoch
from common.encryption.masks import transcript
from common.encryption.panel import Panel
from common.encryption.refusal import refused
from common.encryption.sanitise import NOISE, Noise
from common.encryption.worker import Workers
from common.errors import EncryptionError


@dataclass(frozen=True)
class Query:
    """A query on its way to one panel: the envelope for every silo of it alike, and what answers are bound to."""

    envelope: bytes
    panel: Panel
    layout: int
    count: int
    bound_to: bytes


class QuerierSession:
    """One querier's keys of one key epoch, for any panels and gallery epochs.

    The secret key is made and used in the worker and leaves it only sealed under ``wrap``. A worker that had to
    be started anew is given the sealed key again.

    Args:
        member: the querier's own identity.
        epoch: with the querier's own card.
        worker: its own, shared with no silo.
        wrap: (32 bytes) seals the secret key at rest; from the hospital's passphrase or key file.
        keys: the KEYS envelope of an earlier session, to go on with its keys, together with
        sealed_keys: what that session gave.

    Attributes:
        key_id: (32 bytes) names the keys to the silos.
        keys: the KEYS envelope for the silos; public.
        sealed_keys: the secret key, sealed; with ``keys`` what a later session needs.

    Raises:
        EncryptionError: the sealed keys do not open, or belong to other public keys or another key epoch.
    """

    def __init__(
        self,
        member: Member,
        epoch: KeyEpoch,
        worker: Workers,
        *,
        wrap: bytes,
        keys: bytes | None = None,
        sealed_keys: bytes | None = None,
    ) -> None:
        self._member, self._epoch, self._worker = member, epoch, worker
        if keys is None or sealed_keys is None:
            payload, sealed_keys = worker.call(b"make", json.dumps({"epoch": epoch.to_json()}).encode(), wrap)
            keys = seal(payload, epoch.keys_terms(), member, epoch.key_id(payload))
        opened = unseal(keys, [epoch.keys_terms()], member.card)
        self.key_id, self.keys, self.sealed_keys = opened.message_id, keys, sealed_keys
        if epoch.key_id(opened.payload) != self.key_id:
            raise refused()
        self._name = f"secret/{self.key_id.hex()}"
        data = {"name": self._name, "epoch": epoch.to_json(), "key": self.key_id.hex()}
        worker.setup(self._name, b"open", json.dumps(data).encode(), sealed_keys, wrap)

    def ask(self, queries: npt.NDArray[np.floating], panel: Panel, layout: int = 0) -> Query:
        """A freshly encrypted query of (n, d) unit embeddings, n at most what the layout holds.

        Raises:
            EncryptionError: they do not fit the layout, the panel is another querier's, or the keys are wiped.
        """
        if panel.querier != self._member.card:
            raise EncryptionError(
                f"a panel of {panel.querier.name} is asked by {self._member.card.name}", remedy="ask an own panel"
            )
        used = self._epoch.layouts[layout]
        data = {"name": self._name, "layout": layout, "shape": list(queries.shape)}
        content = np.ascontiguousarray(queries, "<f8").tobytes()
        (payload,) = self._worker.call(b"encrypt", json.dumps(data).encode(), content, needs=[self._name])
        terms = self._epoch.query_terms(used, panel, self.key_id)
        envelope = seal(payload, terms, self._member, secrets.token_bytes(32))
        bound_to = transcript(envelope[:-SIGNATURE_BYTES], panel=panel.digest, layout=used.digest)
        return Query(envelope, panel, layout, len(queries), bound_to)

    def scores(
        self, query: Query, answers: Mapping[str, bytes], *, noise: Noise = NOISE
    ) -> npt.NDArray[np.float64]:
        """(n, S) float64: the panel's sum, rounded; NaN in the rows that any silo closed.

        Args:
            answers: envelope by silo name, one from every silo of the panel.
            noise: what the gallery epoch's profile has silos add; scores further out than it explains are
                refused.

        Raises:
            EncryptionError: an answer is missing or refused, or the keys are wiped.
        """
        members = query.panel.members
        missing = [card.name for card in members if card.name not in answers]
        if missing:
            raise EncryptionError(
                f"no answer from {', '.join(missing)}", remedy="an incomplete panel gives nothing; ask again later"
            )
        closed_keys = b"".join(closed_key(self._member, card, query.bound_to) for card in members)
        data = {"name": self._name, "layout": query.layout, "panel": query.panel.to_json()}
        data |= {"noise": [noise.deviation, noise.scaled]}
        parts = [json.dumps(data).encode(), query.bound_to, closed_keys, *(answers[card.name] for card in members)]
        (content,) = self._worker.call(b"scores", *parts, needs=[self._name])
        layout = self._epoch.layouts[query.layout]
        if len(content) != layout.queries * layout.rows * 8:
            raise refused()
        return np.frombuffer(content, "<f8").reshape(layout.queries, layout.rows)[: query.count]

    def wipe(self) -> None:
        """Forget the secret key, here and in the worker. What the caller stored it deletes itself."""
        self._worker.forget(self._name)
        self.sealed_keys = b""
