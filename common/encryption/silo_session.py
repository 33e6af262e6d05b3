"""A silo's side of a key epoch: what it checks before it answers, and what it remembers after.

The silo itself reads envelopes, in pure Python; only the payload of an accepted one goes to its worker. An
answer is stored before it is sent, and a query that comes again gets the same bytes: fresh noise for old queries
would average out.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from common.consortium.identity import Member
from common.encryption.envelope import seal, unseal
from common.encryption.epoch import Epoch
from common.encryption.layout import Layout
from common.encryption.masks import mask_key, transcript
from common.encryption.panel import pair_key
from common.encryption.refusal import refused
from common.encryption.sanitise import NOISE
from common.encryption.worker import Worker
from common.errors import EncryptionError

STORED_BYTES = 16 << 20


class AnswerStore:
    """Answers by transcript, and every message id ever answered, for one key epoch, in memory.

    The newest ``limit`` bytes of answers are kept; an older query that comes again is refused, never computed
    anew.
    """

    def __init__(self, limit: int = STORED_BYTES) -> None:
        self._answers: OrderedDict[bytes, bytes] = OrderedDict()
        self._seen: dict[bytes, bytes] = {}
        self._limit = limit
        self._size = 0

    def find(self, message_id: bytes, bound_to: bytes) -> bytes | None:
        """The stored answer, or None for a new query.

        Raises:
            EncryptionError: the message id was used for another query, or the answer is no longer stored.
        """
        if message_id not in self._seen:
            return None
        if self._seen[message_id] != bound_to or bound_to not in self._answers:
            raise refused()
        return self._answers[bound_to]

    def put(self, message_id: bytes, bound_to: bytes, answer: bytes) -> None:
        """Store an answer; it may be sent afterwards."""
        self._seen[message_id] = bound_to
        self._answers[bound_to] = answer
        self._size += len(answer)
        while self._size > self._limit and len(self._answers) > 1:
            self._size -= len(self._answers.popitem(last=False)[1])


class SiloSession:
    """One silo in one key epoch.

    Args:
        member: the silo's own identity, one of the panel's members.
        epoch: with the querier's pinned card and the layouts.
        galleries: for each layout (S, d) float64 rows with their weights n_ks / N_s.
        worker: where tenseal runs; several sessions of one simulation may share one.
        keys: the querier's KEYS envelope.
        noise: standard deviation of the noise on a score; 0 in simulations only.

    Raises:
        EncryptionError: the keys are not from the pinned querier, or not for this epoch.
    """

    def __init__(
        self,
        member: Member,
        epoch: Epoch,
        galleries: Mapping[Layout, npt.NDArray[np.float64]],
        worker: Worker,
        *,
        keys: bytes,
        noise: float = NOISE,
    ) -> None:
        if member.card not in epoch.panel.members:
            raise EncryptionError(f"{member.card.name} is not in the panel", remedy="join the next epoch")
        self._member, self._epoch, self._worker = member, epoch, worker
        self._store = AnswerStore()
        self._lock = threading.Lock()
        others = epoch.panel.others(member.card.name)
        self._pairs = [(sign, pair_key(member, card, epoch.panel)) for sign, card in others]
        opened = unseal(keys, [epoch.keys_terms()], epoch.panel.querier)
        self._key_id = epoch.key_id(opened.payload)
        if opened.message_id != self._key_id:
            raise refused()
        self._layouts = {epoch.query_terms(layout, self._key_id): layout for layout in epoch.layouts}
        _ask(worker.setup, b"keys", {"key": self._key_id.hex(), "rotations": epoch.rotations}, opened.payload)
        for layout in epoch.layouts:
            sizes = [layout.dimension, layout.rows, layout.queries]
            data = {"name": self._name(layout), "key": self._key_id.hex(), "layout": sizes, "noise": noise}
            _ask(worker.setup, b"gallery", data, np.ascontiguousarray(galleries[layout], "<f8").tobytes())

    def answer(self, query: bytes) -> bytes:
        """The signed, sanitised, masked answer to a query envelope.

        Raises:
            EncryptionError: the envelope is refused, or the worker ended over it.
        """
        opened = unseal(query, list(self._layouts), self._epoch.panel.querier)
        layout = self._layouts[opened.terms]
        bound_to = transcript(opened.signed, panel=self._epoch.panel.digest, layout=layout.digest)
        # One at a time: a query that comes twice at once must not be answered twice.
        with self._lock:
            answer = self._store.find(opened.message_id, bound_to)
            if answer is None:
                answer = self._compute(layout, opened.payload, bound_to)
                self._store.put(opened.message_id, bound_to, answer)
        return answer

    def _compute(self, layout: Layout, payload: bytes, bound_to: bytes) -> bytes:
        data = {"name": self._name(layout), "signs": [sign for sign, _ in self._pairs]}
        mask_keys = [mask_key(pair, bound_to) for _, pair in self._pairs]
        (response,) = _ask(self._worker.call, b"answer", data, payload, *mask_keys)
        return seal(response, self._epoch.answer_terms(layout, self._key_id), self._member, bound_to)

    def _name(self, layout: Layout) -> str:
        return f"{self._member.card.fingerprint.hex()}/{self._key_id.hex()}/{layout.digest.hex()}"


def _ask(method: Callable[..., list[bytes]], command: bytes, data: Any, *parts: bytes) -> list[bytes]:
    return method(command, json.dumps(data).encode(), *parts)
