"""The coordinator's processes as a service manager keeps them: started anew with ``resume`` whenever they end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from common.errors import RunError
from server import checkpoints
from server.checkpoints import Checkpoint
from simulations.chaos import held_rename

MOST_STARTS = 12
LOOK_SECONDS = 0.02
_COMMAND = (sys.executable, "-P", "-c", "from common.cli import main; main()")


class Coordinator:
    """Leads one run until its release is written.

    Args:
        relay: the relay's folder.
        hooks: a folder of this coordinator alone; see ``held_rename``.
    """

    def __init__(
        self, relay: Path, signed: Path, approvals: list[Path], *, backbone: Path, listen: str, hooks: Path
    ) -> None:
        self.run, self.starts, self.done = relay / "runs" / signed.stem, 0, False
        self._first = ["train", str(relay), str(signed), "--backbone", str(backbone)]
        self._first += [part for approval in approvals for part in ("--approval", str(approval))]
        self._listen, self._hooks, self.log = listen, hooks, hooks / "coordinator.log"
        hooks.mkdir(parents=True)
        shutil.copyfile(Path(held_rename.__file__), hooks / "sitecustomize.py")
        self._process: subprocess.Popen[bytes] | None = None
        self.counted: list[tuple[float, int, int]] = []
        """When (``time.monotonic``) a checkpoint was first seen with so many rounds, and so many that counted."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, name="checkpoints", daemon=True)

    def start(self) -> None:
        """Begin the run."""
        self._begin()
        self._thread.start()

    def keep(self) -> bool:
        """Look after it; whether the run is not done yet.

        Raises:
            RunError: it was started in vain too often.
        """
        assert self._process is not None
        code = self._process.poll()
        if code is None:
            return True
        if code == 0:
            self.done = True
            return False
        if self.starts >= MOST_STARTS:
            raise RunError(f"the coordinator ended {self.starts} times", remedy=f"read {self.log}")
        self._begin()
        return True

    def checkpoint(self) -> Checkpoint | None:
        """The newest, if there is one."""
        return checkpoints.read(self.run)

    @property
    def rounds(self) -> int:
        """Rounds done."""
        return self.counted[-1][1] if self.counted else 0

    def counts_after(self, moment: float, least: int) -> float | None:
        """When one round more had counted than at ``moment``, and ``least`` rounds were done; None if not yet."""
        before = max((counted for when, _, counted in self.counted if when <= moment), default=0)
        return next(
            (
                when
                for when, rounds, counted in self.counted
                if when > moment and counted > before and rounds >= least
            ),
            None,
        )

    def hold(self, when: str) -> None:
        """Let the ServerApp stop "before" or "after" it renames its next checkpoint."""
        (self._hooks / "hold").write_text(when)

    def held(self) -> int | None:
        """The number of the process that has stopped there."""
        try:
            return int((self._hooks / "reached").read_text())
        except (OSError, ValueError):
            return None

    def release(self) -> None:
        """Let it go on."""
        (self._hooks / "hold").unlink(missing_ok=True)
        (self._hooks / "reached").unlink(missing_ok=True)

    def kill(self) -> None:
        """SIGKILL to the process that leads, alone."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def kill_superlink(self, *, with_all: bool) -> None:
        """SIGKILL to the SuperLink, alone or with all that it started, the ServerApp too."""
        pid = self._superlink()
        if pid is None:
            return
        for one in (*(_descendants(pid) if with_all else ()), pid):
            with suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)

    def server_apps(self) -> list[int]:
        """Numbers of the processes that the SuperLink started; one of them writes checkpoints."""
        pid = self._superlink()
        return [] if pid is None else _descendants(pid)

    def close(self) -> None:
        """End it, with everything that it started."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self.release()
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self.kill_superlink(with_all=True)

    def _begin(self) -> None:
        begun = (self.run / checkpoints.FILE).exists()
        what = ["resume", str(self.run)] if begun else self._first
        self.starts += 1
        path = os.pathsep.join(filter(None, (str(self._hooks), os.environ.get("PYTHONPATH"))))
        with self.log.open("ab") as said:
            self._process = subprocess.Popen(
                [*_COMMAND, "coordinator", *what, "--listen", self._listen],
                env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, "COLUMNS": "300"},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def _superlink(self) -> int | None:
        try:
            pid = int((self.run / "flower" / "superlink.pid").read_text())
            return pid if b"flower_superlink" in Path(f"/proc/{pid}/cmdline").read_bytes() else None
        except (OSError, ValueError):
            return None

    def _look(self) -> None:
        seen: tuple[int, int] | None = None
        while not self._stop.wait(LOOK_SECONDS):
            try:
                status = (self.run / checkpoints.FILE).stat()
                stamp = (status.st_mtime_ns, status.st_ino)
                if stamp == seen:
                    continue
                history = found.history if (found := self.checkpoint()) else ()
            except (OSError, RunError):
                continue
            seen = stamp
            good = sum(not summary.discarded for summary in history)
            self.counted.append((time.monotonic(), len(history), good))


def wait_for(
    condition: Callable[[], bool], what: str, *, seconds: float, meanwhile: Callable[[], object] | None = None
) -> None:
    """Look again and again until ``condition`` holds.

    Raises:
        RunError: it does not come to it.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise RunError(f"{what}: not within {seconds:.0f} s", remedy="read the logs")
        if meanwhile is not None:
            meanwhile()
        time.sleep(0.005)


def _descendants(pid: int) -> list[int]:
    """What a process started, and what that started."""
    parents: dict[int, int] = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            with suppress(OSError, ValueError, IndexError):
                parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]
