"""phenofed poc: a consortium of separate processes out of an empty folder, and nothing left when it is down."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import Result

from common.errors import ConfigError, RunError
from simulations.poc import processes
from simulations.poc.folder import TrialFolder
from simulations.poc.held_out import quality
from simulations.poc.processes import Process
from simulations.poc.running import started, stop
from simulations.poc.training import train
from tests.agents import phenofed, wait_until

SILOS = ("silo-1", "silo-2", "silo-3", "silo-4")
PROBE = "OMIM-122470.png"


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrialFolder]:
    folder = TrialFolder(tmp_path_factory.mktemp("poc") / "t")
    try:
        result = phenofed("poc", "up", folder.path, "--scenario", "smoke", "--seconds", 120)
        assert result.exception is None, result.exception
        assert "4 hospitals can rank" in result.output
        yield folder
    finally:
        stop(folder)


def ranked(folder: TrialFolder) -> dict[str, object]:
    result = phenofed(
        "rank",
        folder.probes / PROBE,
        "--aligned",
        "--patient",
        "P",
        "--workspace",
        folder.workspace(SILOS[0]),
        "--json",
    )
    assert result.exception is None, result.exception
    return dict(json.loads(result.stdout))


def of(folder: TrialFolder) -> dict[str, Process]:
    return {process.name: process for process in processes.read(folder.processes)}


def family(folder: TrialFolder) -> set[int]:
    """Ids of the trial's processes and of everything that they have started, and that still runs."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
            if state not in "ZX":
                parents[int(path.parent.name)] = int(parent)
    found = {process.pid for process in processes.read(folder.processes)} & parents.keys()
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def running(pids: set[int]) -> set[int]:
    """Those that still run; a zombie does not."""
    return {pid for pid in pids if _state(pid) not in "ZX"}


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def test_a_new_patient_is_ranked_over_four_hospitals_of_separate_processes(trial: TrialFolder) -> None:
    answer = ranked(trial)
    assert answer["silos"] == list(SILOS)
    assert answer["missing_silos"] == []
    assert "OMIM:122470" in [row["key"] for row in answer["syndromes"][:3]]
    assert len({process.pid for process in of(trial).values()}) == 5


def test_a_folder_that_is_up_stays_as_it_is(trial: TrialFolder) -> None:
    before = of(trial)
    assert "is up already" in phenofed("poc", "up", trial.path).output
    assert of(trial) == before
    with pytest.raises(RunError, match="holds a trial already"):
        raise_of(phenofed("poc", "up", trial.path, "--silos", 5))


def test_a_killed_agent_is_named_as_missing_and_started_again_alone(trial: TrialFolder) -> None:
    before = of(trial)
    os.kill(before["silo-4"].pid, signal.SIGKILL)
    answers: list[dict[str, object]] = []
    wait_until(lambda: answers.append(ranked(trial)) or "silo-4" in answers[-1]["silent_silos"])
    assert "silo-4" in answers[-1]["missing_silos"]
    assert "ended" in phenofed("poc", "status", trial.path).output
    phenofed("poc", "up", trial.path, "--no-wait")
    after = of(trial)
    assert after["silo-4"].runs
    assert {name for name in before if before[name] != after[name]} == {"silo-4"}


def test_down_leaves_no_process_and_is_harmless_a_second_time(trial: TrialFolder) -> None:
    before = family(trial)
    assert len(before) >= 5
    assert "relay" in phenofed("poc", "down", trial.path).output
    wait_until(lambda: not running(before))
    assert "nothing runs" in phenofed("poc", "down", trial.path).output


def test_an_interrupted_start_leaves_nothing_running(trial: TrialFolder) -> None:
    stop(trial)
    interrupted = started(trial, SILOS)
    fresh = interrupted.__enter__()
    assert [process.name for process in fresh if process.runs] == ["relay", *SILOS]
    assert not interrupted.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert not any(process.runs for process in fresh)
    assert processes.read(trial.processes) == []


def test_a_flower_node_that_a_killed_agent_left_behind_ends_with_the_trial(trial: TrialFolder) -> None:
    home = trial.workspace("silo-2") / "node" / "flower"
    home.mkdir(parents=True)
    waiting = [sys.executable, "-c", "input()", "client.training.flower_node"]
    with subprocess.Popen(waiting, cwd=home, stdin=subprocess.PIPE, start_new_session=True) as node:
        (home / "node.pid").write_text(f"{node.pid}\n")
        processes.write(trial.processes, [Process("silo-2", 1, "before this boot")])
        assert "had ended before: silo-2" in phenofed("poc", "down", trial.path).output
        assert node.wait(20) == -signal.SIGKILL


def test_training_asks_for_a_trial_that_is_up_and_for_its_network(trial: TrialFolder) -> None:
    stop(trial)
    with pytest.raises(RunError, match="not every hospital"):
        raise_of(phenofed("poc", "run", trial.path, "--rounds", 1))
    scenario = trial.about().scenario
    other = scenario.backbone.model_copy(update={"architecture": "iresnet18"})
    with pytest.raises(ConfigError, match="another network"):
        train(trial, SILOS, scenario.model_copy(update={"backbone": other}), print)
    assert not (trial.operator / "plans").exists()


def test_patients_whom_no_gallery_holds_are_ranked_in_clear(trial: TrialFolder) -> None:
    found = quality(trial, SILOS)
    assert (found.patients, found.syndromes) == (12, 4)
    assert 0.5 < found.top1 <= found.top5 == 1


def test_a_reused_process_id_is_left_alone() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        old = Process("relay", stranger.pid, "another boot 17")
        assert not old.runs
        assert processes.end([old]) == []
        assert stranger.poll() is None
        stranger.communicate()


def test_what_does_not_end_when_asked_is_killed(tmp_path: Path) -> None:
    deaf = (
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    )
    log = tmp_path / "deaf.log"
    process = processes.start("deaf", [sys.executable, "-c", deaf], log=log, environment={})
    wait_until(lambda: log.read_text() == "deaf\n")
    processes.write(tmp_path / "processes.json", [process])
    assert processes.end(processes.read(tmp_path / "processes.json"), seconds=0.2) == ["deaf"]
    assert not process.runs
    assert processes.end([process]) == []


def test_a_folder_with_something_else_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match="is not empty"):
        raise_of(phenofed("poc", "up", tmp_path, "--scenario", "smoke"))
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_a_failed_founding_leaves_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="are too few"):
        raise_of(phenofed("poc", "up", tmp_path / "t", "--scenario", "smoke", "--set", "cohort.spec.patients=20"))
    few = (
        "--set",
        "cohort.kind=stored",
        "--set",
        f"cohort.path={tmp_path / 'nowhere'}",
        "--set",
        "cohort.spec=null",
    )
    assert phenofed("poc", "up", tmp_path / "t", "--scenario", "smoke", *few).exit_code != 0
    assert [path.name for path in (tmp_path / "t").iterdir()] == [".lock"]


def raise_of(result: Result) -> None:
    """Raise what a command was refused with."""
    if result.exception is not None:
        raise result.exception
