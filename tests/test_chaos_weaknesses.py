"""What the chaos suite once found: a reply that never comes whole, and a ServerApp that outlives its SuperLink."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Context, Message
from flwr.supercore.task_identity import TaskIdentity

import client.app
from common.children import child, clean_environment, end_former
from common.errors import TrainingError
from common.federation import Coordination
from common.records import Question, SiloDescription, TrainRequest, Update
from server.fetching import fetched
from server.rounds import run_rounds
from simulations.engines.inline import InlineGrid
from tests.agents import wait_until

INITIAL = {"a": np.zeros((2, 3), np.float32)}


class Steps:
    """A silo that moves everything by one."""

    def __init__(self, name: str) -> None:
        self.name = name

    def describe(self, question: Question) -> SiloDescription:
        return SiloDescription(self.name, patients=4, photos=5, syndromes=2)

    def train(self, request: TrainRequest) -> Update:
        delta = {path: np.ones_like(value) for path, value in request.parameters.items()}
        return Update(request.run, request.round, self.name, delta, patients=4, photos=5, loss=0.5)


class Halting(InlineGrid):
    """Whose first silo's update is announced and never comes whole: it died in the middle of its upload."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(client.app.build(lambda context: Steps(served(context))), names)
        self.never = threading.Event()

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        wanted = list(message_ids)
        for one in wanted:
            message = self._waiting.get(one)
            trains = message is not None and message.metadata.message_type == "train.round"
            if trains and message is not None and served(self._contexts[message.metadata.dst_node_id]) == "a":
                self.never.wait()
        return super().pull_messages(wanted)


def served(context: Context) -> str:
    return str(context.node_config["silo"])


def test_a_reply_that_never_comes_whole_costs_its_silo_the_round_and_nobody_else(tmp_path: Path) -> None:
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1
    names = ("a", "b", "c")
    run = Coordination("test", 0, 1, names, {}, {}, INITIAL, tmp_path, deadline_s=1.0, fetched_apart=True)
    grid = Halting(names)
    try:
        last = run_rounds(grid, run)
    finally:
        grid.never.set()
    assert set(last.history[0].losses) == {"b", "c"}
    assert last.history[0].excluded["a"] == "no reply within 1 s"


def test_what_fetching_raises_reaches_the_round() -> None:
    def gone(message: str) -> list[str]:
        raise TrainingError("the SuperLink is gone", remedy="resume")

    with pytest.raises(TrainingError, match="SuperLink is gone"):
        list(fetched(gone, ["one"], seconds=30, pause=0.01))


def test_ending_a_program_ends_what_left_its_group_too(tmp_path: Path) -> None:
    """As Flower's executors do, each in a session of its own."""
    numbers, command = tmp_path / "stray", [sys.executable, "-c", PARENT, str(tmp_path / "stray")]
    for killed in (False, True):
        numbers.unlink(missing_ok=True)
        with child(command, folder=tmp_path, name="program", environment=clean_environment(tmp_path)) as program:
            wait_until(lambda: numbers.exists() and numbers.read_text().endswith("\n"))
            stray = int(numbers.read_text())
            if killed:
                program.kill()
                program.wait()
                end_former(tmp_path / "program.pid", sys.executable)
                assert not runs(stray)
        assert not runs(stray)


PARENT = """
import subprocess, sys, time
code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
stray = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
print(stray.pid, file=open(sys.argv[1], "w"), flush=True)
time.sleep(600)
"""


def runs(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
