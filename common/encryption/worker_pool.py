"""Several worker processes for one silo: the library holds Python's lock, so only processes compute side by side.

with WorkerPool("silo", count=2) as pool:
    session = SiloSession(member, pool)
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from typing import Self

from common.encryption.worker import MEMORY, SECONDS, Service, Worker
from common.errors import EncryptionError


class WorkerPool:
    """``Workers``. A process starts, and is told what it needs, when all others are busy.

    Args:
        service: which of the two sides it serves.
        count: processes at most; each holds its own copy of keys and galleries.
        seconds: that a request may take, on the clock and on the processor.
        memory: bytes of address space of each.

    Raises:
        EncryptionError: no process.
    """

    def __init__(self, service: Service, *, count: int, seconds: float = SECONDS, memory: int = MEMORY) -> None:
        if count < 1:
            raise EncryptionError(f"a pool of {count} workers", remedy="use at least one")
        self._workers = [Worker(service, seconds=seconds, memory=memory) for _ in range(count)]
        # The last one to be idle comes first: a silo that is asked rarely stays with one process.
        self._idle: queue.LifoQueue[Worker] = queue.LifoQueue()
        for worker in reversed(self._workers):
            self._idle.put(worker)
        self._changing = threading.Lock()

    def start(self) -> None:
        """Start one process now.

        Raises:
            EncryptionError: it cannot start.
        """
        self._workers[0].start()

    @property
    def unconfined(self) -> tuple[str, ...]:
        """What this machine could not confine the processes with."""
        return self._workers[0].unconfined

    @property
    def restarts(self) -> int:
        """How often a process had to be started again."""
        return sum(max(0, worker.generation - 1) for worker in self._workers)

    def call(self, *parts: bytes, needs: Sequence[str] = ()) -> list[bytes]:
        """See ``Worker.call``; waits for an idle process."""
        worker = self._idle.get()
        try:
            return worker.call(*parts, needs=needs)
        finally:
            self._idle.put(worker)

    def setup(self, name: str, *parts: bytes) -> None:
        """See ``Worker.setup``: one process checks it now, the others are told when they need it."""
        with self._changing:
            first, *others = self._workers
            first.setup(name, *parts)
            for worker in others:
                worker.keep(name, *parts)

    def forget(self, name: str) -> None:
        """See ``Worker.forget``."""
        with self._changing:
            for worker in self._workers:
                worker.forget(name)

    def close(self) -> None:
        """End all processes."""
        for worker in self._workers:
            worker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
