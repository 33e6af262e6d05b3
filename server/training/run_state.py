"""``RUN/state.json``: how a run stands, as its leading process last wrote it. Whether one leads, the lock says.

A process that is killed cannot write that it ended: a state of waiting or training under a lock that nobody holds
says so in its place.
"""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

from common.errors import RunError
from common.storage import write_json

FILE, LOCK = "state.json", ".lock"
VERSION = 1
_LOCK_SECONDS, _AGAIN_SECONDS = 1.0, 0.05


class Phase(StrEnum):
    """What a leading process does, or how it ended."""

    WAITING = "waiting"
    TRAINING = "training"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"
    DONE = "done"


@dataclass(frozen=True)
class RunState:
    """One moment of a run.

    Attributes:
        since: when the phase began (seconds since 1970), or in ``TRAINING`` the round.
        round: the round that is trained now; 0 before the first.
        connected: the silos that it was sent to.
        leads: how often a process began to lead the run.
        approved: silos that are admitted.
        metrics_port: on loopback; 0 for none.
        reason: why it stopped.
    """

    phase: Phase
    since: float
    pid: int
    leads: int = 1
    approved: int = 0
    round: int = 0
    connected: tuple[str, ...] = ()
    listen: str = ""
    metrics_port: int = 0
    reason: str = ""

    def now(self, phase: Phase, *, reason: str = "") -> RunState:
        """The same run in another phase from now on."""
        return replace(self, phase=phase, since=time.time(), reason=reason)


def write_state(run: Path, state: RunState) -> None:
    """Replace the state atomically; what a full disk refuses is left out, since no round may fail by it."""
    with suppress(RunError):
        write_json(run / FILE, {"version": VERSION, **asdict(state)})


def read_state(run: Path) -> RunState | None:
    """The state in a run's folder; None where no process has led it yet.

    Raises:
        RunError: the file is damaged or of another version.
    """
    path = run / FILE
    try:
        content = json.loads(path.read_text())
        if content.pop("version") == VERSION:
            connected = tuple(map(str, content.pop("connected")))
            return RunState(phase=Phase(content.pop("phase")), connected=connected, **content)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{path} is damaged", remedy="remove it; the next resume writes it anew") from error
    raise RunError(f"{path} is of another version", remedy="use the release of phenofed that leads the run")


@contextmanager
def leading_alone(run: Path) -> Iterator[None]:
    """Hold the run's lock.

    Raises:
        RunError: another process leads it.
    """
    with (run / LOCK).open("w") as file:
        end = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                # Whoever asks ``is_led`` holds it for a moment.
                if time.monotonic() >= end:
                    raise RunError(f"another process leads {run}", remedy="wait for it, or end it") from error
                time.sleep(_AGAIN_SECONDS)
        yield


def is_led(run: Path) -> bool:
    """Whether a process leads the run now."""
    try:
        with (run / LOCK).open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
