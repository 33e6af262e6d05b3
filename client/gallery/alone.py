"""One process at a time changes a workspace's records; the system lets go of the lock when a process is killed."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.errors import AgentError


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Hold the lock file, which is made if need be; others wait.

    Raises:
        AgentError: it cannot be made.
    """
    try:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise AgentError(
            f"cannot make {lock} ({error.strerror})", remedy="check the workspace and who you are"
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
