"""What a user gets wrong: one clear line, the documented exit code, no traceback, nothing lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from server import checkpoints
from simulations.running import Run
from tests.conftest import TINY

SETS = [word for override in TINY for word in ("--set", override)]


def phenofed(*words: str, cwd: Path, columns: int = 200) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", "from common.cli import main; main()", *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=300,
        env=os.environ | {"COLUMNS": str(columns), "NO_COLOR": "1", "OMP_NUM_THREADS": "1"},
    )


def assert_one_line(result: subprocess.CompletedProcess[str], code: int, *parts: str) -> None:
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr + result.stdout
    said = [line for line in result.stderr.splitlines() if line.startswith("phenofed:")]
    assert len(said) == 1, result.stderr
    for part in parts:
        assert part in said[0]


@pytest.mark.parametrize(
    ("words", "code", "parts"),
    [
        (["simulate", "nowhere.yaml"], 3, ["no scenario nowhere.yaml", "demo"]),
        (["simulate", "smoke", "--set", "training.speed=3"], 3, ["unknown key 'training.speed'"]),
        (["simulate", "smoke", "--set", "training.rounds=-1"], 3, ["training.rounds"]),
        (["simulate", "smoke", "--set", "rounds"], 3, ["--set key=value"]),
        (["simulate", "smoke", "--set", "backbone.path=gone.safetensors"], 6, ["gone.safetensors"]),
        (["simulate", "smoke", "--set", f"backbone.sha256={'a' * 64}"], 6, ["thin.safetensors"]),
        (["simulate", "facebench", "--set", "backbone.path=gone.onnx"], 6, ["gone.onnx"]),
        (["simulate", "smoke", *SETS, "--set", "cohort.spec.silos=3"], 10, ["3 silos are too few", "four silos"]),
        (["simulate", "--resume", "gone"], 9, ["gone holds no run"]),
        (["report", "gone"], 9, ["gone holds no run"]),
        (["export", "encodings", "gone"], 9, ["gone holds no run"]),
        (["rank", "photo.jpg", "--against", "gone"], 9, ["gone holds no run"]),
    ],
)
def test_wrong_words_are_told(words: list[str], code: int, parts: list[str], tmp_path: Path) -> None:
    assert_one_line(phenofed(*words, cwd=tmp_path), code, *parts)


def test_wrong_usage_is_exit_code_two(tmp_path: Path) -> None:
    result = phenofed("simulate", cwd=tmp_path)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


def test_a_missing_cohort_is_told_before_anything_is_written(tmp_path: Path) -> None:
    words = ["--set", "cohort.kind=gmdb", "--set", "cohort.path=gone", "--set", "cohort.spec=null"]
    (tmp_path / "scenario.yaml").write_text(
        "name: x\ncohort: {kind: gmdb, path: gone}\nbackbone: {architecture: thin}\n"
    )
    result = phenofed("simulate", "scenario.yaml", *words[:0], cwd=tmp_path)
    assert_one_line(result, 4, "gone")


def test_a_run_is_never_overwritten_unasked(finished: Run, tmp_path: Path) -> None:
    before = (finished.folder / "results.json").read_bytes()
    result = phenofed("simulate", "smoke", *SETS, "--out", str(finished.folder), cwd=tmp_path)
    assert_one_line(result, 9, "holds a run already", "--resume", "--overwrite")
    assert (finished.folder / "results.json").read_bytes() == before


def test_a_folder_that_is_no_run_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    result = phenofed("simulate", "smoke", "--out", "mine", "--overwrite", cwd=tmp_path)
    assert_one_line(result, 9, "holds something that is no run")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    ("content", "code", "part"),
    [(b"", 5, "empty.jpg"), (b"\xff\xd8\xff\xe0 no jpeg", 5, "empty.jpg"), (b"<svg/>", 5, "empty.jpg")],
)
def test_a_photo_that_cannot_be_used_is_told(
    finished: Run, tmp_path: Path, content: bytes, code: int, part: str
) -> None:
    (tmp_path / "empty.jpg").write_bytes(content)
    result = phenofed("rank", "empty.jpg", "--aligned", "--against", str(finished.folder), cwd=tmp_path)
    assert_one_line(result, code, part)


def test_help_teaches_every_command(tmp_path: Path) -> None:
    top = phenofed("--help", cwd=tmp_path).stdout
    for command in ("demo", "simulate", "report", "export", "pretrain", "cohort", "rank"):
        assert command in top
        told = phenofed(command, "--help", cwd=tmp_path)
        assert told.returncode == 0
        assert len(told.stdout) > 300


def test_help_is_folded_by_the_terminal_alone(tmp_path: Path) -> None:
    told = phenofed("poc", "chaos", "--help", cwd=tmp_path, columns=300).stdout
    assert "drawn by the seed, and a run in which a message of each round is altered" in told


def test_ctrl_c_says_how_to_go_on_and_leaves_a_run_that_does(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", "from common.cli import main; main()"]
        + ["simulate", "smoke", *SETS, "--set", "training.rounds=200", "--out", "run"],
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    checkpoint = tmp_path / "run" / "training" / "federated" / "checkpoint.safetensors"
    end = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert "phenofed simulate --resume run" in said
    kept = checkpoints.read(checkpoint.parent)
    assert kept is not None
    assert 0 < kept.round < 200
