"""Long-running child processes: each leads a process group of its own, and ends with everything that it started.

A parent that is killed leaves its child behind; the child's number lies in a file, and the next parent ends it
before it starts another, which would find the port or the name taken.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from common.quiet import SETTINGS
from common.storage import write_text

ENDING_SECONDS = 20.0
_HOME = "FLWR_HOME"
_INHERITED = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "OMP_NUM_THREADS", "PYTHONPATH")


def tool(name: str) -> str:
    """The path of a program that is installed beside this Python."""
    return str(Path(sys.executable).parent / name)


def clean_environment(home: Path, *, proxy: str | None = None) -> dict[str, str]:
    """An environment for Flower's programs, made from nothing: no secrets, no telemetry, no stray proxy.

    Args:
        home: where they may write.
        proxy: HOST:PORT of an HTTP proxy; calls on this machine never go through it.
    """
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', os.defpath)}"
    made = {**kept, **SETTINGS, "PATH": path, "HOME": str(home), _HOME: str(home)}
    if proxy is not None:
        # Programs differ in which case they read.
        made |= dict.fromkeys(("https_proxy", "HTTPS_PROXY"), f"http://{proxy}")
        made |= dict.fromkeys(("no_proxy", "NO_PROXY"), "127.0.0.1,localhost")
    return made


@contextmanager
def child(
    command: Sequence[str], *, folder: Path, name: str, environment: Mapping[str, str], program: str | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """``command`` running in ``folder``, which must exist; what it says is appended to ``NAME.log`` there.

    Args:
        program: the word by which ``end_former`` knows the command; by default the first.
    """
    number = folder / f"{name}.pid"
    end_former(number, program or command[0])
    with (folder / f"{name}.log").open("ab") as said:
        process = subprocess.Popen(
            command,
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
        try:
            write_text(number, f"{process.pid}\n")
            yield process
        finally:
            _end(process)
            _end_strays(environment.get(_HOME, ""))
            number.unlink(missing_ok=True)


def end_former(number: Path, program: str) -> None:
    """End the child of a killed parent by its file; a process that is another by now is left alone.

    When this returns the child is gone, and so are its ports: else the next one's would seem to answer already.
    What it had started and left behind ends too.

    Args:
        program: a word of the child's command that no other process has.
    """
    try:
        pid, folder = int(number.read_text()), number.parent.resolve()
    except (OSError, ValueError):
        return
    _end_group(pid, program, folder)
    _end_strays(str(folder))


def _end_group(pid: int, program: str, folder: Path) -> None:
    try:
        handle = os.pidfd_open(pid)
    except (OSError, OverflowError):
        return
    try:
        # Looked at after the pidfd was opened, so that nothing can take its place in between.
        running = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if program.encode() in running and Path(f"/proc/{pid}/cwd").resolve() == folder:
            os.killpg(pid, signal.SIGKILL)
            select.select([handle], [], [], ENDING_SECONDS)
    except OSError:
        return
    finally:
        os.close(handle)


def _end_strays(home: str) -> None:
    """End what Flower's programs of that home have started: some lead groups of their own, and outlive them.

    A ServerApp does so as long as it waits for a reply's arrays, and would write its checkpoint after all.
    """
    marked = f"{_HOME}={home}".encode()
    for path in Path("/proc").iterdir() if home else ():
        if not path.name.isdigit() or int(path.name) == os.getpid():
            continue
        with suppress(OSError):
            handle = os.pidfd_open(int(path.name))
            try:
                if marked in (path / "environ").read_bytes().split(b"\0"):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
                    select.select([handle], [], [], ENDING_SECONDS)
            finally:
                os.close(handle)


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, subprocess.TimeoutExpired):
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(ENDING_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
