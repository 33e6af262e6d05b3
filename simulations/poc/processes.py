"""Processes that outlive the command that started them, and are found again by a later one.

A process is known by its id and the moment of its birth, since ids are given out again, after a restart of the
machine too. Signals go through a pidfd, which stands for one process whatever becomes of its id (pidfd_open(2)).
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from common.errors import RunError
from common.storage import write_json

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_STATE, _BIRTH = 0, 19
"""Places of the state and the start time in /proc/PID/stat, counted behind the name (proc(5))."""


@dataclass(frozen=True)
class Process:
    """A process that was started. ``born``: the machine's boot, and clock ticks since."""

    name: str
    pid: int
    born: str

    @property
    def runs(self) -> bool:
        """Whether this very process still runs."""
        return _born(self.pid) == self.born


_LIST: TypeAdapter[list[Process]] = TypeAdapter(list[Process])


def start(name: str, command: Sequence[str], *, log: Path, environment: Mapping[str, str]) -> Process:
    """Start a process in a session of its own: Ctrl-C at this terminal does not reach it. It writes to ``log``."""
    log.parent.mkdir(parents=True, exist_ok=True)
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    files = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), append, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    pid = os.posix_spawn(command[0], list(command), dict(environment), file_actions=files, setsid=True)
    return Process(name, pid, _born(pid) or "ended at once")


def end(processes: Sequence[Process], *, seconds: float = 20.0) -> list[str]:
    """End processes, and wait until they are gone; gives the names of those that ran.

    Each is asked first (SIGTERM), and killed where it does not end in time.
    """
    ran: list[str] = []
    for process in processes:
        with _held(process) as handle:
            if handle is not None:
                ran.append(process.name)
                signal.pidfd_send_signal(handle, signal.SIGTERM)
    limit = time.monotonic() + seconds
    for process in processes:
        with _held(process) as handle:
            if handle is None:
                continue
            if not _gone(handle, limit - time.monotonic()):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                _gone(handle, seconds)
            _bury(handle)
    return ran


def read(path: Path) -> list[Process]:
    """The processes listed in a file; none where there is no file.

    Raises:
        RunError: the file is damaged.
    """
    try:
        return _LIST.validate_json(path.read_bytes())
    except FileNotFoundError:
        return []
    except (OSError, ValidationError) as error:
        raise RunError(f"{path} is damaged", remedy="end the processes by hand, then remove the file") from error


def write(path: Path, processes: Iterable[Process]) -> None:
    """List processes in a file."""
    write_json(path, [asdict(process) for process in processes])


def _born(pid: int) -> str | None:
    """The moment of birth of a process; None where it has ended, buried or not."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[_STATE] in "ZX" else f"{_BOOT.read_text().strip()} {fields[_BIRTH]}"


@contextmanager
def _held(process: Process) -> Iterator[int | None]:
    """A pidfd of this very process; None where it has ended."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        yield None
        return
    try:
        # Looked at after the pidfd was opened, so that nothing can take its place in between.
        yield handle if process.runs else None
    finally:
        os.close(handle)


def _gone(handle: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(max(0.0, seconds) * 1000))


def _bury(handle: int) -> None:
    try:
        os.waitid(os.P_PIDFD, handle, os.WEXITED)
    except ChildProcessError:
        return  # another command's child
