"""A process that alone loads the homomorphic library, and dies instead of its owner.

    with Worker("silo") as worker:
        worker.setup("keys/1", b"keys", ...)         kept, and said again to a process that was started anew
        (payload,) = worker.call(b"answer", ..., needs=["keys/1"])

Foreign residues reach the library only there, under the limits of ``confinement``. A crash or a hang is a refused
request; the next one finds a new process. That one is told again only what a request needs, so keys that make the
library crash spoil nothing but the queries under them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, Self

from common.encryption import frames
from common.errors import EncryptionError

Service = Literal["querier", "silo", "gram-asker", "gram-responder"]

SECONDS = 120.0
MEMORY = 6 << 30
_ROOT = Path(__file__).resolve().parents[2]


class Dropped(EncryptionError):
    """A request needs something that was forgotten meanwhile."""

    def __init__(self) -> None:
        super().__init__("what the request needs was dropped", remedy="ask the newest panel under the newest keys")

    def __reduce__(self) -> tuple[object, ...]:
        return (Dropped, ())


class Workers(Protocol):
    """One worker, or several that stand in for each other (``worker_pool``)."""

    def call(self, *parts: bytes, needs: Sequence[str] = ()) -> list[bytes]:
        """See ``Worker.call``."""

    def setup(self, name: str, *parts: bytes) -> None:
        """See ``Worker.setup``."""

    def forget(self, name: str) -> None:
        """See ``Worker.forget``."""


@dataclass
class _Kept:
    parts: tuple[bytes, ...]
    holders: int = 0


class Worker:
    """One worker process and its private folder.

    Args:
        service: which of the two sides it serves.
        seconds: that a request may take, on the clock and on the processor.
        memory: bytes of address space.
    """

    def __init__(self, service: Service, *, seconds: float = SECONDS, memory: int = MEMORY) -> None:
        self._service = service
        self._seconds = seconds
        self._memory = memory
        self._kept: dict[str, _Kept] = {}
        self._present: set[str] = set()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self.folder: Path | None = None
        """Private to the running process, if any."""
        self._finalizer: weakref.finalize[..., Worker] | None = None
        self.unconfined: tuple[str, ...] = ()
        """What this machine could not confine the process with: any of "seccomp", "landlock"."""
        self.generation = 0
        """How often the process was started."""

    def start(self) -> None:
        """Start the process now, if it does not run, rather than with the first request.

        Raises:
            EncryptionError: it cannot start.
        """
        with self._lock:
            self._begin()

    def call(self, *parts: bytes, needs: Sequence[str] = ()) -> list[bytes]:
        """Ask and wait.

        Args:
            needs: names of what ``setup`` said that the request builds on.

        Raises:
            Dropped: one of them was forgotten.
            EncryptionError: the worker refuses, or it ended or hung and was put away.
        """
        with self._lock:
            if any(name not in self._kept for name in needs):
                raise Dropped
            self._begin()
            for name in needs:
                if name not in self._present:
                    self._ask(self._kept[name].parts)
                    self._present.add(name)
            return self._ask(parts)

    def setup(self, name: str, *parts: bytes) -> None:
        """Ask, and keep the request for a process that is started anew; once for each name, whoever asks.

        Raises:
            EncryptionError: as ``call``; nothing is kept.
        """
        with self._lock:
            if name not in self._kept:
                self._begin()
                self._ask(parts)
                self._present.add(name)
            self._hold(name, parts)

    def keep(self, name: str, *parts: bytes) -> None:
        """``setup`` without asking before a request needs it."""
        with self._lock:
            self._hold(name, parts)

    def forget(self, name: str) -> None:
        """Undo one ``setup`` of this name; the process drops it with the last."""
        with self._lock:
            kept = self._kept.get(name)
            if kept is None:
                return
            kept.holders -= 1
            if kept.holders:
                return
            del self._kept[name]
            if name in self._present:
                self._present.remove(name)
                with suppress(frames.PipeClosed):  # Then it is gone with the process.
                    self._ask((b"drop", json.dumps({"name": name}).encode()))

    @property
    def process_id(self) -> int | None:
        """Of the running process, if any."""
        return self._process.pid if self._process else None

    def close(self) -> None:
        """End the process and remove its folder."""
        with self._lock:
            self._stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _hold(self, name: str, parts: tuple[bytes, ...]) -> None:
        self._kept.setdefault(name, _Kept(parts)).holders += 1

    def _begin(self) -> None:
        if self._process is not None:
            return
        self._start()
        try:
            self.unconfined = tuple(part.decode() for part in self._ask(()))
        except BaseException:
            self._stop()
            raise

    def _ask(self, parts: tuple[bytes, ...]) -> list[bytes]:
        """Send a request, or with no parts none, and read the answer to it."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        deadline = time.monotonic() + self._seconds
        try:
            if parts:
                frames.write(process.stdin.fileno(), parts, deadline=deadline)
            status, *answer = frames.read(process.stdout.fileno(), deadline=deadline) or [b""]
        except BaseException:
            # Also on Ctrl-C: a half-read answer must not be taken for the next one.
            self._stop()
            raise
        if status != b"ok":
            what, remedy = (part.decode(errors="replace") for part in (answer + [b"", b""])[:2])
            raise EncryptionError(what or "the encryption worker refuses", remedy=remedy)
        return answer

    def _start(self) -> None:
        folder = private_folder()
        environment = {"PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        environment |= {
            name: os.environ[name] for name in ("PATH", "LANG", "LD_LIBRARY_PATH") if name in os.environ
        }
        command = [sys.executable, "-P", "-m", "common.encryption.service", self._service, str(folder)]
        process = subprocess.Popen(
            [*command, str(self._memory), str(max(1, int(self._seconds)))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=environment,
            cwd=folder,
            start_new_session=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        os.set_blocking(process.stdin.fileno(), False)
        os.set_blocking(process.stdout.fileno(), False)
        self._process, self.folder = process, folder
        self._finalizer = weakref.finalize(self, _put_away, process, folder)
        self.generation += 1

    def _stop(self) -> None:
        if self._finalizer is not None:
            self._finalizer()
        self._process = self._finalizer = self.folder = None
        self._present.clear()


def private_folder() -> Path:
    """A new folder that only this user may enter, on a memory file system where one is writable."""
    for parent in ("/dev/shm", os.environ.get("XDG_RUNTIME_DIR"), None):  # noqa: S108
        try:
            return Path(tempfile.mkdtemp(prefix="phenofed-", dir=parent))
        except OSError:
            continue
    raise EncryptionError("no temporary folder is writable", remedy="set TMPDIR to one that is")


def _put_away(process: subprocess.Popen[bytes], folder: Path) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    shutil.rmtree(folder, ignore_errors=True)
