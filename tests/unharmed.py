"""What must be as before after hostile requests: files on disk, and what a process holds open."""

from __future__ import annotations

import gc
import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.agents import wait_until

MEGABYTE = 1 << 20


def state_of(folder: Path, *, without: tuple[str, ...] = ()) -> dict[str, str]:
    """SHA-256 of every file in ``folder`` by its path, but for those whose first part is in ``without``."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        # SQLite's shared memory is an index that readers rewrite; what was written lies beside it.
        if path.is_file() and not path.name.endswith("-shm") and name.parts[0] not in without:
            found[str(name)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@dataclass(frozen=True)
class Held:
    """What a process holds: bytes of memory, threads, open files."""

    memory: int
    threads: int
    files: int


def held_by(pid: int) -> Held:
    """What the process holds now."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return Held(
        int(status["VmRSS"].split()[0]) << 10,
        int(status["Threads"]),
        len(os.listdir(f"/proc/{pid}/fd")),
    )


@contextmanager
def bounded(
    *pids: int, megabytes: int = 192, threads: int = 8, files: int = 16, after: float = 20.0
) -> Iterator[None]:
    """Fails unless memory, threads and open files of these processes (by default this one) are back in the end."""
    watched = pids or (os.getpid(),)
    gc.collect()
    before = {pid: held_by(pid) for pid in watched}
    yield

    def is_back() -> bool:
        gc.collect()
        now = {pid: held_by(pid) for pid in watched}
        return all(
            now[pid].threads <= before[pid].threads + threads and now[pid].files <= before[pid].files + files
            for pid in watched
        )

    try:
        wait_until(is_back, after)
    except AssertionError:
        names = [thread.name for thread in threading.enumerate()]
        raise AssertionError(
            f"left behind: {before} became { {pid: held_by(pid) for pid in watched} }, threads here {names}"
        ) from None
    for pid in watched:
        grown = held_by(pid).memory - before[pid].memory
        assert grown < megabytes * MEGABYTE, f"process {pid} grew by {grown / MEGABYTE:.0f} MB"
