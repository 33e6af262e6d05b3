"""A process that alone loads the homomorphic library, and dies instead of its owner.

    with Worker("silo") as worker:
        worker.setup(b"keys", ...)          said again whenever the process had to be started anew
        (payload,) = worker.call(b"answer", ...)

Foreign residues reach the library only there, under the limits of ``confinement``. A crash or a hang is a refused
request; the next one finds a new process.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from pathlib import Path
from typing import Literal, Self

from common.encryption import frames
from common.errors import EncryptionError

Service = Literal["querier", "silo"]

SECONDS = 120.0
MEMORY = 6 << 30
_ROOT = Path(__file__).resolve().parents[2]


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
        self._setup: list[tuple[bytes, ...]] = []
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self.folder: Path | None = None
        """Private to the running process, if any."""
        self._finalizer: weakref.finalize[..., Worker] | None = None
        self.unconfined: tuple[str, ...] = ()
        """What this machine could not confine the process with: any of "seccomp", "landlock"."""
        self.generation = 0
        """How often the process was started; what it made itself, such as keys, is lost in between."""

    def call(self, *parts: bytes) -> list[bytes]:
        """Ask and wait.

        Raises:
            EncryptionError: the worker refuses, or it ended or hung and was put away.
        """
        with self._lock:
            if self._process is None:
                self._begin()
            return self._ask(parts)

    def setup(self, *parts: bytes) -> list[bytes]:
        """``call``, and remember it for a process that is started anew."""
        answer = self.call(*parts)
        self._setup.append(parts)
        return answer

    def forget(self) -> None:
        """Drop what ``setup`` remembers."""
        self._setup.clear()

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

    def _begin(self) -> None:
        self._start()
        try:
            self.unconfined = tuple(part.decode() for part in self._ask(()))
            for earlier in self._setup:
                self._ask(earlier)
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
