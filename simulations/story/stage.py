"""Runs the commands of a story, shows them as a reader would type them, and keeps the transcript.

Processes that go on are started in sessions of their own; whatever becomes of the story, they are ended with it.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from client.local.door import call
from client.workspace.workspace import Workspace
from common.errors import AgentError, RunError
from common.storage import write_text
from simulations.poc import processes
from simulations.poc.processes import Process

COMMAND_SECONDS = 600.0
LOOK_SECONDS, PATIENCE = 0.2, 600.0
TRANSCRIPT, RUNNING = "story.md", "processes.json"
# Without -P, Python would look for code in the folder that the command is called in.
_PHENOFED = (sys.executable, "-P", "-c", "from common.cli import main; main()")
_SINGLE = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class Stage:
    """A folder in which commands run; paths in them are relative to it.

    Args:
        say: told every line, as it comes.
    """

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.folder = folder.resolve()
        self.checked: list[str] = []
        self._say, self._lines = say, list[str]()
        self._running: dict[str, Process] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        processes.end(list(self._running.values())[::-1])
        (self.folder / RUNNING).unlink(missing_ok=True)
        self._keep()

    def chapter(self, title: str) -> None:
        """Begin a chapter."""
        self._write("", f"## {title}", "")

    def tell(self, text: str) -> None:
        """A paragraph for the reader."""
        self._write("", text, "")

    def phenofed(self, *words: object, lines: int = 6, refused: bool = False) -> str:
        """Run ``phenofed`` with these words; gives what it printed.

        Args:
            lines: how many of the output are shown.
            refused: it must be refused; gives the one line that says why.

        Raises:
            RunError: it failed where it must succeed, or the other way round.
        """
        arguments = [str(word) for word in words]
        done = subprocess.run(
            [*_PHENOFED, *arguments],
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
        )
        said = done.stderr if refused else done.stdout
        self._show(arguments, said.rstrip().splitlines(), lines)
        if (done.returncode != 0) is not refused:
            last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:] or ["it said nothing"]
            raise RunError(
                f"phenofed {shlex.join(arguments)} ended with {done.returncode}: {last[0]}",
                remedy=f"see {self.folder / TRANSCRIPT}",
            )
        return said

    def start(self, name: str, *words: object) -> None:
        """Start ``phenofed`` with these words; it goes on, and writes to ``logs/NAME.log``."""
        whole = [str(self.folder / word) if isinstance(word, Path) else str(word) for word in words]
        self._running[name] = processes.start(
            name, [*_PHENOFED, *whole], log=self.log(name), environment=self._environment()
        )
        processes.write(self.folder / RUNNING, self._running.values())
        self._show([*map(str, words), "&"], [], 0)

    def kill(self, name: str) -> None:
        """End a process as a power cut would."""
        os.kill(self._running[name].pid, signal.SIGKILL)
        self.until(f"{name} is gone", lambda: not self._running[name].runs)
        self._write("", "```", f"$ kill -9 {self._running[name].pid}      # {name}", "```")

    def wait(self, name: str, seconds: float) -> None:
        """Wait until a process has ended by itself."""
        self.until(f"{name} ends", lambda: not self._running[name].runs, seconds)

    def stop(self, name: str) -> None:
        """End a process as its people would, with Ctrl-C's signal for services."""
        processes.end([self._running[name]])

    def log(self, name: str) -> Path:
        """What a process wrote."""
        return self.folder / "logs" / f"{name}.log"

    def ask(self, silo: str, operation: str = "status") -> dict[str, Any] | None:
        """What a silo's agent says of itself; None where it does not answer."""
        try:
            return call(Workspace(self.folder / silo).socket_path, operation, {})
        except AgentError:
            return None

    def until(self, what: str, holds: Callable[[], bool], seconds: float = PATIENCE) -> float:
        """Look again and again until something holds; gives the seconds that it took.

        Raises:
            RunError: it never came to that.
        """
        began = time.monotonic()
        while not holds():
            if time.monotonic() - began > seconds:
                raise RunError(f"waited {seconds:.0f} s in vain: {what}", remedy=f"see {self.folder / 'logs'}")
            time.sleep(LOOK_SECONDS)
        return time.monotonic() - began

    def check(self, what: str, holds: bool) -> None:
        """Note something that was seen to hold.

        Raises:
            RunError: it does not.
        """
        if not holds:
            raise RunError(f"it does not hold that {what}", remedy=f"see {self.folder / TRANSCRIPT}")
        self.checked.append(what)
        self._write(f"*Checked: {what}.*")

    def _environment(self) -> dict[str, str]:
        return {**_SINGLE, **os.environ, "COLUMNS": "110", "NO_COLOR": "1"}

    def _show(self, arguments: Sequence[str], said: Sequence[str], lines: int) -> None:
        rest = ["..."] if len(said) > lines > 0 else []
        spelt = re.sub(r" '&'$", " &", shlex.join(arguments))
        self._write("", "```", f"$ phenofed {spelt}", *said[:lines], *rest, "```")

    def _write(self, *lines: str) -> None:
        for line in "\n".join(lines).split("\n"):
            shown = line.replace(f"{self.folder}{os.sep}", "")
            if not shown and not (self._lines and self._lines[-1]):
                continue
            self._lines.append(shown)
            self._say(shown)
        self._keep()

    def _keep(self) -> None:
        # Commands that say nothing follow each other in one block.
        text = re.sub(r"(?m)^(\$ .*)\n```\n\n```\n(?=\$ )", r"\1\n", "\n".join(self._lines))
        write_text(self.folder / TRANSCRIPT, text + "\n")
