"""Starting what a trial runs, and waiting until it ranks: the relay, and an agent for each silo."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from client.local.door import call
from client.plans.deciding import NODE
from client.training.node import end_left
from client.workspace.workspace import Workspace
from common.errors import AgentError, PhenofedError, RunError
from simulations.poc import processes
from simulations.poc.folder import TrialFolder
from simulations.poc.processes import Process

RELAY = "relay"
# Without -P, Python would look for code in the folder that the command is called in.
_COMMAND = (sys.executable, "-P", "-c", "from common.cli import main; main()")
_LOOK_SECONDS = 0.3
_SINGLE = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Agents share the machine: each would take all of it for its linear algebra."""


@contextmanager
def started(folder: TrialFolder, silos: Sequence[str]) -> Iterator[list[Process]]:
    """What had to be started, so that relay and agents run; ended again if the block fails.

    Raises:
        RunError: the record of what runs is damaged.
    """
    before = [process for process in processes.read(folder.processes) if process.runs]
    running = {process.name for process in before}
    fresh: list[Process] = []
    try:
        for name in (RELAY, *silos):
            if name not in running:
                fresh.append(_start(folder, name))
                # After each one, so that none is forgotten whenever this ends.
                processes.write(folder.processes, [*before, *fresh])
        yield fresh
    except BaseException:
        processes.end(fresh[::-1])
        processes.write(folder.processes, before)
        raise


def stop(folder: TrialFolder) -> tuple[list[str], list[str]]:
    """End everything that was started and still runs; gives the names of that, and of what had ended before."""
    known = processes.read(folder.processes)
    # Agents first, so that none of them looks for a relay that is gone.
    ended = processes.end(known[::-1])
    for process in known:
        # An agent that was killed could not end its Flower node.
        end_left(folder.workspace(process.name) / NODE)
    folder.processes.unlink(missing_ok=True)
    return ended, [process.name for process in known if process.name not in ended]


def stop_agents(folder: TrialFolder) -> None:
    """End the agents; the relay goes on."""
    processes.end([process for process in processes.read(folder.processes) if process.name != RELAY])


def wait_until_ranking(folder: TrialFolder, silos: Sequence[str], *, seconds: float, after: int = 0) -> None:
    """Wait until every agent is connected and one gallery epoch is open at all of them.

    Args:
        after: number of an epoch that does not count any more.

    Raises:
        RunError: a process ended, or it took too long; the message says which, and what its log said last.
    """
    limit, why = time.monotonic() + seconds, "the agents have not answered yet"
    while time.monotonic() < limit:
        for process in processes.read(folder.processes):
            if not process.runs:
                raise RunError(
                    f"{process.name} ended: {_last_line(folder.log(process.name))}",
                    remedy=f"see {folder.log(process.name)}",
                )
        states = [status(folder, silo) for silo in silos]
        if all(_sees_all(state, silos) for state in states):
            if _one_epoch(states, after):
                return
            why = _open_epoch(folder, silos[0]) or why
        time.sleep(_LOOK_SECONDS)
    raise RunError(f"not ready after {seconds:.0f} s: {why}", remedy=f"see {folder.log(silos[0]).parent}")


def status(folder: TrialFolder, silo: str) -> dict[str, Any] | None:
    """What an agent says of itself; None where it does not answer."""
    try:
        return call(Workspace(folder.workspace(silo)).socket_path, "status", {})
    except AgentError:
        return None


def epoch_of(folder: TrialFolder, silo: str) -> int | None:
    """The number of the gallery epoch that is open at a silo, 0 for none; None where its agent does not answer."""
    said = status(folder, silo)
    return None if said is None else int(said["epoch"]["number"]) if said["epoch"] else 0


def _start(folder: TrialFolder, name: str) -> Process:
    what = (
        ("coordinator", "up", str(folder.relay)) if name == RELAY else ("silo", "up", str(folder.workspace(name)))
    )
    more = () if name == RELAY else ("--verbose",)
    environment = {**dict.fromkeys(_SINGLE, "1"), **os.environ}
    return processes.start(name, [*_COMMAND, *what, *more], log=folder.log(name), environment=environment)


def _sees_all(state: dict[str, Any] | None, silos: Sequence[str]) -> bool:
    return state is not None and set(silos) <= {state["name"], *state["present"]}


def _one_epoch(states: Sequence[dict[str, Any] | None], after: int) -> bool:
    """Whether the same gallery epoch, of all silos and later than ``after``, is open at all of them."""
    opened = [state["epoch"] for state in states if state is not None]
    numbers = {epoch["number"] if epoch else 0 for epoch in opened}
    return len(numbers) == 1 and min(numbers) > after and len(opened[0]["silos"]) == len(states)


def _open_epoch(folder: TrialFolder, silo: str) -> str:
    """Ask an agent to open one, rather than wait until it does by itself; gives the reason if it cannot yet."""
    try:
        call(Workspace(folder.workspace(silo)).socket_path, "epoch", {})
    except PhenofedError as error:
        return str(error)
    return ""


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1].removeprefix("phenofed: ") if lines else "it wrote nothing"
