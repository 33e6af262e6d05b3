"""Relay and hospitals as the processes that people start: they open an epoch by themselves, rank, die and end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from client.agent import Agent
from client.local.door import call
from client.workspace.workspace import Workspace
from common.errors import AgentError
from tests.agents import ROWS, found_hospitals, phenofed, photo, scores_in_clear, wait_until

NAMES = ("alpha", "beta", "gamma", "delta")
COMMAND = [sys.executable, "-c", "from common.cli import main; main()"]
ROOT = Path(__file__).parent.parent


class Processes:
    """A relay and an agent for each hospital."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.relay = self._started("coordinator", "up", folder / "operator" / "relay")
        self.silos = {name: self._started("silo", "up", folder / name, "--workers", "1") for name in NAMES}

    def _started(self, *arguments: object) -> subprocess.Popen[str]:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        command = [*COMMAND, *map(str, arguments)]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )

    def status(self, name: str) -> dict | None:
        try:
            return call(self.folder / name / "agent.sock", "status", {})
        except AgentError:
            return None

    def close(self) -> None:
        for process in (*self.silos.values(), self.relay):
            process.kill()
            process.communicate()


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    made = Processes(found_hospitals(tmp_path_factory.mktemp("c") / "c", NAMES))
    try:
        wait_until(lambda: all((status := made.status(name)) and status["epoch"] for name in NAMES), 60)
        yield made
    finally:
        made.close()


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    tasks = Path(f"/proc/{process.pid}/task").glob("*/children")
    return sorted({int(child) for path in (children, *tasks) for child in path.read_text().split()})


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"
    except OSError:
        return False


def test_processes_rank_by_the_formula_and_name_who_died(processes: Processes, tmp_path: Path) -> None:
    picture = tmp_path / "p.png"
    picture.write_bytes(photo(5, ROWS[0]))
    # Not started: they hold no worker, and tell what the formula gives over the same files.
    agents = [Agent(Workspace(processes.folder / name)) for name in NAMES]
    command = ("rank", picture, "--patient", "17", "--aligned", "--json", "--workspace")

    def ranked(name: str) -> dict:
        return json.loads(phenofed(*command, processes.folder / name).stdout)

    def in_order(clear: dict[str, float]) -> list[tuple[str, float]]:
        del clear[ROWS[2]]
        return sorted(clear.items(), key=lambda item: -item[1])

    found = ranked("beta")
    clear = in_order(scores_in_clear(agents, picture.read_bytes()))
    assert [row["key"] for row in found["syndromes"]] == [key for key, _ in clear]
    for row, (_, score) in zip(found["syndromes"], clear, strict=True):
        assert row["similarity"] == pytest.approx(score, abs=1e-4)
    assert found["missing_silos"] == []

    processes.silos["gamma"].kill()
    found = ranked("beta")
    assert (found["silos"], found["missing_silos"]) == (["beta"], ["alpha", "delta", "gamma"])
    assert "gamma" in found["silent_silos"]
    clear = in_order(scores_in_clear(agents[1:2], picture.read_bytes(), counted=agents))
    assert [row["key"] for row in found["syndromes"]] == [key for key, _ in clear]
    for agent in agents:
        agent.close()


@pytest.mark.parametrize(("name", "stop"), [("alpha", signal.SIGINT), ("delta", signal.SIGTERM)])
def test_an_agent_that_is_interrupted_leaves_no_worker_and_no_traceback(
    processes: Processes, name: str, stop: int
) -> None:
    process = processes.silos[name]
    workers = workers_of(process)
    assert workers
    process.send_signal(stop)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "interrupted" in errors.splitlines()[-1]
    wait_until(lambda: not any(alive(worker) for worker in workers))
    assert not (processes.folder / name / "agent.sock").exists()


def test_down_ends_an_agent_without_an_error(processes: Processes) -> None:
    assert "stops" in phenofed("silo", "down", processes.folder / "beta").output
    _, errors = processes.silos["beta"].communicate(timeout=30)
    assert processes.silos["beta"].returncode == 0
    assert "Traceback" not in errors
