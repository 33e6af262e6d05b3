"""The silo's homomorphic sessions: as many worker processes as it grants, each able to answer any query."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from common.consortium.identity import Member
from common.encryption.answers import Answers
from common.encryption.envelope import claimed
from common.encryption.gallery_rows import GalleryRows
from common.encryption.key_epoch import KeyEpoch
from common.encryption.layout import Layout
from common.encryption.panel import Panel
from common.encryption.sanitise import Noise
from common.encryption.silo_session import SiloSession
from common.encryption.worker import Worker


class Sessions:
    """Sessions that serve the same galleries under the same keys.

    A query that comes again goes to the session that saw it first, which is the one that may be computing it.
    """

    def __init__(self, member: Member, *, workers: int = 2) -> None:
        self._workers = [Worker("silo") for _ in range(workers)]
        self._sessions = [SiloSession(member, worker) for worker in self._workers]

    @property
    def unconfined(self) -> tuple[str, ...]:
        """What this machine cannot confine workers with; known once they run."""
        return tuple(sorted({name for worker in self._workers for name in worker.unconfined}))

    def admit_keys(self, epoch: KeyEpoch, envelope: bytes) -> bytes:
        """See ``SiloSession.admit_keys``."""
        with ThreadPoolExecutor(len(self._sessions)) as pool:
            jobs = [pool.submit(session.admit_keys, epoch, envelope) for session in self._sessions]
            (key_id,) = {job.result() for job in jobs}
        return key_id

    def has_keys(self, key_id: bytes) -> bool:
        """See ``SiloSession.has_keys``."""
        return all(session.has_keys(key_id) for session in self._sessions)

    def serve(self, epoch_id: str, galleries: Mapping[Layout, GalleryRows], *, noise: Noise) -> None:
        """See ``SiloSession.serve``."""
        with ThreadPoolExecutor(len(self._sessions)) as pool:
            jobs = [pool.submit(session.serve, epoch_id, galleries, noise=noise) for session in self._sessions]
            for job in jobs:
                job.result()

    def retire(self, epoch_id: str) -> None:
        """See ``SiloSession.retire``."""
        for session in self._sessions:
            session.retire(epoch_id)

    def close_rows(self, epoch_id: str, rows: Iterable[int]) -> None:
        """See ``SiloSession.close_rows``."""
        closed = tuple(rows)
        for session in self._sessions:
            session.close_rows(epoch_id, closed)

    def answer(self, envelope: bytes, *, panel: Panel, key_id: bytes, answers: Answers) -> bytes:
        """See ``SiloSession.answer``."""
        chosen = self._sessions[claimed(envelope)[1][0] % len(self._sessions)]
        return chosen.answer(envelope, panel=panel, key_id=key_id, answers=answers)

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers:
            worker.close()
