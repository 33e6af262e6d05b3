"""A silo's side of the protocol: what it checks before it answers, and what it does after.

    session = SiloSession(member, worker)
    session.serve(epoch_id, {layout: rows}, noise=noise)      a gallery epoch opens
    key_id = session.admit_keys(key_epoch, envelope)          a querier's KEYS, once
    answer = session.answer(query, panel=panel, key_id=key_id, answers=account)

Several queriers, key epochs and gallery epochs at once, from any threads. The silo itself reads envelopes, in pure
Python; only the payload of an accepted one goes to its worker.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from common.consortium.identity import Member
from common.encryption.accepted_query import AcceptedQuery, accept
from common.encryption.admitted_keys import AdmittedKeys, QuerierKeys
from common.encryption.answers import Answers
from common.encryption.gallery_rows import GalleryRows
from common.encryption.key_epoch import KeyEpoch
from common.encryption.layout import Layout
from common.encryption.panel import Panel
from common.encryption.refusal import refused
from common.encryption.sanitise import Noise
from common.encryption.served_gallery import ServedGallery
from common.encryption.worker import Dropped, Workers
from common.errors import DisclosureError, EncryptionError


class SiloSession:
    """One silo.

    Args:
        member: the silo's own identity.
        worker: where tenseal runs; the silos of a simulation may share one.
    """

    def __init__(self, member: Member, worker: Workers) -> None:
        self._member, self._worker = member, worker
        self._keys = AdmittedKeys(worker)
        self._served: dict[str, ServedGallery] = {}
        self._panels: dict[tuple[bytes, str], bytes] = {}
        self._queries: dict[bytes, tuple[threading.Lock, int]] = {}
        self._state = threading.Lock()
        self._changing = threading.Lock()

    def admit_keys(self, epoch: KeyEpoch, envelope: bytes) -> bytes:
        """(32 bytes) the id of a querier's keys, accepted from its KEYS envelope.

        Args:
            epoch: with the querier's card as pinned from the roster.

        Raises:
            EncryptionError: not from that querier, not for this key epoch, or no keys; a key epoch older than one
                that was admitted.
        """
        return self._keys.admit(epoch, envelope)

    def drop_keys(self, key_id: bytes) -> None:
        """Forget a querier's keys."""
        self._keys.drop(key_id)

    def has_keys(self, key_id: bytes) -> bool:
        """Whether queries under these keys can be answered."""
        return key_id in self._keys

    def serve(self, epoch_id: str, galleries: Mapping[Layout, GalleryRows], *, noise: Noise) -> None:
        """Answer panels of a gallery epoch from now on.

        Args:
            galleries: rows with their weights n_ks / N_s, for each layout.

        Raises:
            EncryptionError: the epoch is served already, or the content does not fit its layout.
        """
        with self._changing:
            if epoch_id in self._served:
                raise EncryptionError(
                    f"gallery epoch {epoch_id} is served already",
                    remedy="changes come with the next gallery epoch",
                )
            served = ServedGallery(dict(galleries), noise)
            served.prepare(self._worker)
            with self._state:
                self._served[epoch_id] = served

    def retire(self, epoch_id: str) -> None:
        """Answer no panel of this gallery epoch any more. An answer that is being computed is not sent."""
        with self._changing:
            with self._state:
                served = self._served.pop(epoch_id, None)
            if served is not None:
                served.forget(self._worker)

    def close_rows(self, epoch_id: str, rows: Iterable[int]) -> None:
        """Show no more of some rows, at once: when this returns, no answer that holds them will leave.

        Raises:
            EncryptionError: the epoch is not served, or has no such row.
        """
        with self._changing:
            with self._state:
                if epoch_id not in self._served:
                    raise EncryptionError(f"gallery epoch {epoch_id} is not served", remedy="serve it first")
                before = self._served[epoch_id]
                # Drowned from here on; then they are taken out of the gallery itself.
                self._served[epoch_id] = before.closing(rows)
                closed = self._served[epoch_id]
            emptied = closed.without_closed()
            emptied.prepare(self._worker)
            with self._state:
                self._served[epoch_id] = emptied
            before.forget(self._worker)

    def answer(self, envelope: bytes, *, panel: Panel, key_id: bytes, answers: Answers) -> bytes:
        """The signed, sanitised, masked answer to a query envelope; to the same query always the same bytes.

        Args:
            panel: the one that this silo itself derives for the querier and the gallery epoch.
            key_id: the keys that the query says it is under; its signature covers them.
            answers: the querier's account. The query costs every lane that its layout admits.

        Raises:
            EncryptionError: the envelope is refused, or the worker ended over it.
            DisclosureError: the budget does not cover it, or the silo answered another panel before.
        """
        keys, served = self._agreed(panel, key_id)
        query = accept(envelope, member=self._member, panel=panel, keys=keys, served=served)
        self._pin(panel)
        with self._alone(key_id + query.message_id):
            answer = answers.find(query.message_id, query.bound_to)
            if answer is None:
                answers.reserve(query.message_id, query.bound_to, query.layout.queries)
                return self._compute(query, answers)
            _, served = self._agreed(panel, key_id)
            if not served.closed <= query.closed_rows(answer):
                # It may never have arrived, and it shows what has been withdrawn since.
                raise refused()
            return answer

    def _compute(self, query: AcceptedQuery, answers: Answers) -> bytes:
        while True:
            _, served = self._agreed(query.panel, query.keys.key_id)
            try:
                answer = query.answer(served, self._worker)
            except Dropped:
                # The gallery changed on the way; if it was retired, the check above refuses.
                continue
            with self._state:
                now = self._served.get(query.panel.gallery_epoch)
                # Retired, or a row closed, while this was computed: it must not leave.
                if now is not None and now.closed == served.closed:
                    answers.put(query.message_id, query.bound_to, answer)
                    return answer

    def _agreed(self, panel: Panel, key_id: bytes) -> tuple[QuerierKeys, ServedGallery]:
        if self._member.card not in panel.members:
            raise EncryptionError(f"{self._member.card.name} is not in the panel", remedy="join the next epoch")
        keys = self._keys.find(key_id)
        with self._state:
            served = self._served.get(panel.gallery_epoch)
        if served is None or keys.epoch.querier != panel.querier:
            raise refused()
        return keys, served

    def _pin(self, panel: Panel) -> None:
        """Of answers to two panels the difference would be that of their silos."""
        place = panel.querier.fingerprint, panel.gallery_epoch
        with self._state:
            if self._panels.setdefault(place, panel.digest) != panel.digest:
                raise DisclosureError(
                    f"{panel.querier.name} asks a second panel in one gallery epoch",
                    remedy="ask the panel that the epoch gives",
                )

    @contextmanager
    def _alone(self, query: bytes) -> Iterator[None]:
        """One thread at a time for each query: one that comes twice at once must not be answered twice."""
        with self._state:
            lock, waiting = self._queries.get(query, (threading.Lock(), 0))
            self._queries[query] = lock, waiting + 1
        try:
            with lock:
                yield
        finally:
            with self._state:
                lock, waiting = self._queries[query]
                self._queries[query] = lock, waiting - 1
                if waiting == 1:
                    del self._queries[query]
