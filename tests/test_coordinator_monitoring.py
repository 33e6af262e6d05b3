"""What an operator watches of a run: log, state, figures, health; also while it is led, and after a crash."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from common.errors import FlowerError, PhenofedError, RelayError, RunError, TrainingError
from common.json_logs import FIELDS
from common.records import Refusal, Update
from server import checkpoints, status
from server.aggregation.gate import refusal
from server.aggregation.reasons import REFUSED_BY_SILO, Reason, reason_of
from server.checkpoints import RoundSummary
from server.round_log import LOG as ROUNDS
from server.training.led_run import LedRun, begin_run
from server.training.metrics import RunMetrics
from server.training.run_log import OLDER, RunLog, Tail
from server.training.run_state import Phase, leading_alone, read_state, write_state
from server.training.standing import GRACE_SECONDS, Standing, standing_of
from server.training.watching import watching
from simulations.engines.inline import run_inline
from simulations.weights import THIN
from tests.agents import phenofed
from tests.consortium_folder import copy_consortium
from tests.monitoring_figures import asked, scraped
from tests.test_round_loop import FakeSilo, nan
from tests.training_hospitals import NAMES, RUN, approve, found_trainers, sign_plan

SECRET = "patient P-17"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = found_trainers(tmp_path_factory.mktemp("led") / "made")
    signed = sign_plan(folder, training={"rounds": 3, "warmup_rounds": 1, "trainable_fraction": 0})
    files = [approve(folder, name, signed) for name in NAMES]
    begin_run(folder / "operator" / "relay", signed, files, backbone=THIN, parent=None)
    return folder


@pytest.fixture
def relay(made: Path, tmp_path: Path) -> Path:
    return copy_consortium(made, tmp_path / "c") / "operator" / "relay"


@pytest.fixture
def run(relay: Path) -> LedRun:
    from server.training.led_run import open_run

    return open_run(relay / "runs" / RUN)


def refuses(update: Update) -> Refusal:
    return Refusal(update.silo, f"{SECRET} is gone [red]\x1b[2J")


def lead(run: LedRun, spoil: dict[str, Callable[[Update], Update | Refusal]], **options: object) -> list[str]:
    """Lead rounds as the leading process and the ServerApp do, over silos that train nothing; the lines echoed."""
    silos = {name: FakeSilo(name, spoil.get(name, lambda update: update)) for name in NAMES}
    alone = {"digest": "", "cards": {}, "members": None, "fetched_apart": False}
    plain = replace(run.coordination(), **alone, deadline_s=5.0)  # type: ignore[arg-type]
    lines: list[str] = []
    with watched(run, lines.append) as watch:
        run_inline(plain, silos.__getitem__, on_round=lambda checkpoint: watch.follow())
    return lines


@contextlib.contextmanager
def watched(run: LedRun, echo: Callable[[str], None] = lambda line: None) -> Iterator:  # type: ignore[type-arg]
    with leading_alone(run.path), watching(run, "127.0.0.1:1", metrics_port=0, echo=echo) as watch:
        yield watch


def shown(path: Path, *, width: int = 400) -> str:
    output = io.StringIO()
    Console(file=output, width=width).print(status.drawn(status.overview(path)))
    return output.getvalue()


def test_a_led_run_shows_its_rounds_in_log_figures_and_status(run: LedRun, relay: Path) -> None:
    a, b, c, d = NAMES
    seen: list[tuple[dict[str, float], tuple[int, str], str]] = []

    def look(update: Update) -> Update:
        state = read_state(run.path)
        if update.round == 3 and state is not None:
            seen.append((scraped(state.metrics_port), asked(state.metrics_port, "/healthz"), shown(relay)))
        return update

    lines = [json.loads(line) for line in lead(run, {a: look, c: refuses, d: nan})]
    assert [line["event"] for line in lines if "silo" not in line] == [
        *("run.began", "silos.awaited"),
        *("round.began", "round.ended", "checkpoint.written") * 3,
        "run.done",
    ]
    assert {(line["event"], line["silo"], line.get("reason")) for line in lines if "silo" in line} == {
        ("update.accepted", a, None),
        ("update.accepted", b, None),
        ("update.refused", c, "refused"),
        ("update.refused", d, "not_finite"),
    }
    assert all(line["run"] == RUN for line in lines)
    assert {key for line in lines for key in line} <= {"time", "level", "logger", "message", *FIELDS}
    assert SECRET not in (run.path / "run.log").read_text()

    ((figures, health, text),) = seen
    of_run = f"run={RUN}"
    for name, value in {
        f"rounds{{{of_run}}}": 3,
        f"rounds_done{{{of_run}}}": 2,
        f"rounds_discarded_total{{{of_run}}}": 0,
        f"silos_approved{{{of_run}}}": 4,
        f"silos_connected{{{of_run}}}": 4,
        f"silos_counted{{{of_run}}}": 2,
        f"silo_counted{{{of_run},silo={b}}}": 1,
        f"silo_counted{{{of_run},silo={d}}}": 0,
        f"exclusions_total{{reason=refused,{of_run},silo={c}}}": 2,
        f"exclusions_total{{reason=not_finite,{of_run},silo={d}}}": 2,
        f"standing{{{of_run},standing=training}}": 1,
        f"standing{{{of_run},standing=stalled}}": 0,
        f"resumes_total{{{of_run}}}": 0,
    }.items():
        assert figures[f"phenofed_training_{name}"] == value, name
    assert figures[f"phenofed_training_update_norm{{{of_run}}}"] > 0
    assert figures[f"phenofed_training_last_round_seconds{{{of_run}}}"] > 0
    assert 0 <= figures[f"phenofed_training_checkpoint_age_seconds{{{of_run}}}"] < 60
    assert 700 < figures[f"phenofed_training_certificate_expires_days{{{of_run}}}"] < 731
    assert SECRET not in " ".join(figures)
    assert health == (200, "ok\n")
    assert "2 of 3" in text
    assert f"{a}, {b}" in text
    assert f"{c}: {REFUSED_BY_SILO}{SECRET} is gone [red]" in text
    assert "\x1b[2J" not in text


def test_a_run_that_ends_shows_how(run: LedRun, relay: Path) -> None:
    assert standing_of(run.path).standing is Standing.READY
    with pytest.raises(TrainingError, match="quorum"):
        lead(run, dict.fromkeys(NAMES[1:], nan))
    found = standing_of(run.path)
    assert (found.standing, found.done, found.discarded, found.row) == (Standing.STOPPED, 3, 3, 3)
    assert "stopped: 3 rounds in a row lacked a quorum" in shown(relay)
    with pytest.raises(TrainingError, match="quorum"):
        status.check(run.path)
    with contextlib.suppress(KeyboardInterrupt), watched(run):
        raise KeyboardInterrupt
    assert standing_of(run.path).standing is Standing.INTERRUPTED
    with pytest.raises(FlowerError), watched(run):
        raise FlowerError("the SuperLink ended", remedy="resume")
    state = read_state(run.path)
    assert state is not None
    assert (state.phase, state.reason, state.leads) == (Phase.STOPPED, "the SuperLink ended", 3)


def test_a_finished_run_is_released(run: LedRun) -> None:
    lead(run, {})
    assert standing_of(run.path).standing is Standing.DONE
    run.write_release()
    assert standing_of(run.path).standing is Standing.RELEASED
    assert "released" not in status.check(run.path)
    assert json.loads(phenofed("coordinator", "status", run.path, "--json").stdout)["runs"][0]["standing"] == (
        "released"
    )


LEADER = """
import sys
from pathlib import Path
from server.training.led_run import open_run
from server.training.run_state import leading_alone
from server.training.watching import watching
run = open_run(Path(sys.argv[1]))
with leading_alone(run.path), watching(run, "127.0.0.1:1", metrics_port=0, echo=lambda line: None):
    print("leads", flush=True)
    input()
"""


def test_a_process_that_leads_is_seen_and_one_that_was_killed_is_told_from_it(run: LedRun, relay: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", LEADER, str(run.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
    ) as leader:
        assert leader.stdout is not None
        assert leader.stdout.readline() == "leads\n"
        found = standing_of(run.path)
        assert (found.standing, found.to_json()["led_by"]) == (Standing.WAITING, leader.pid)
        assert "waiting for silos" in status.check(run.path)
        with pytest.raises(RunError, match="another process leads"), leading_alone(run.path):
            pass
        os.kill(leader.pid, signal.SIGKILL)
    assert standing_of(run.path).standing is Standing.CRASHED
    told = f"ended without saying so after round 0: phenofed coordinator resume {run.path}"
    with pytest.raises(RunError, match="ended without saying so"):
        status.check(run.path)
    narrow = "".join(line.split("│")[4].strip() for line in shown(relay, width=80).splitlines() if "│" in line)
    assert narrow.replace(" ", "") == told.replace(" ", ""), "however narrow the terminal"
    result = phenofed("coordinator", "status", relay)
    assert told.split(":")[0] in " ".join(result.stdout.split())
    assert isinstance(result.exception, RelayError), "the relay does not run, and that is said after the runs"
    assert json.loads(phenofed("coordinator", "status", relay, "--json").stdout)["silos"] is None
    with watched(run):
        assert standing_of(run.path).standing is Standing.WAITING
    state = read_state(run.path)
    assert state is not None
    assert state.leads == 2


def test_asking_how_a_run_stands_keeps_nobody_from_leading_it(run: LedRun) -> None:
    stop, asked, led = threading.Event(), 0, 0

    def ask() -> None:
        nonlocal asked
        while not stop.is_set():
            standing_of(run.path)
            asked += 1

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        while led < 20 or asked < 20:
            with leading_alone(run.path):
                led += 1
    finally:
        stop.set()
        asking.join()
    assert led >= 20


def test_a_round_that_takes_too_long_is_no_health(run: LedRun) -> None:
    metrics = RunMetrics(run.path, run.relay.certificate.read_bytes)
    assert metrics.ailing() is not None, "nobody leads it"
    with watched(run) as watch:
        assert metrics.ailing() is None
        state = read_state(run.path)
        assert state is not None
        late = time.time() - run.plan.deadline_s - GRACE_SECONDS - 1
        write_state(run.path, replace(state, since=late))
        code, line = asked(state.metrics_port, "/healthz")
        assert (code, line.startswith("stalled")) == (503, True)
        with pytest.raises(TrainingError, match="stalled"):
            status.check(run.path)
        watch.follow()
    assert RunMetrics(run.path, lambda: b"damaged").ailing() is not None


def test_a_certificate_that_ended_is_no_health(run: LedRun) -> None:
    with watched(run):
        assert "certificate" in str(RunMetrics(run.path, lambda: b"damaged").ailing())


def test_a_taken_port_ends_before_anything_is_led(run: LedRun) -> None:
    with watched(run):
        state = read_state(run.path)
        assert state is not None
        with (
            pytest.raises(RunError, match="metrics-port"),
            watching(run, "", metrics_port=state.metrics_port, echo=lambda line: None),
        ):
            pass


def test_what_cannot_be_read_of_one_run_hides_no_other(run: LedRun, relay: Path) -> None:
    other = relay / "runs" / "other"
    other.mkdir()
    (other / "plan.json").write_bytes(b"damaged")
    (run.path / "state.json").write_text("{")
    (run.path / checkpoints.FILE).write_bytes(b"\xff" * 40)
    assert [found.standing for found in status.overview(relay).runs] == [Standing.UNREADABLE] * 2
    (run.path / "state.json").unlink()
    assert "is damaged" in standing_of(run.path).what


def test_the_log_stays_small_and_each_line_is_followed_once(tmp_path: Path) -> None:
    tail = Tail(tmp_path)
    writers = [RunLog(tmp_path, most_bytes=20_000) for _ in range(2)]
    threads = [
        threading.Thread(target=_write, args=(writer, name)) for writer, name in zip(writers, "ab", strict=True)
    ]
    for thread in threads:
        thread.start()
    found = []
    while any(thread.is_alive() for thread in threads):
        found += tail.new()
    for thread in threads:
        thread.join()
    found += tail.new()
    told = [line["silo"] for _, line in found]
    assert sorted(told) == sorted(f"{name}{number}" for name in "ab" for number in range(60))
    assert (tmp_path / OLDER).exists() or sum(path.stat().st_size for path in tmp_path.iterdir()) < 21_000
    for number in range(400):
        writers[0].emit(_record(f"c{number}"))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 41_000
    with (tmp_path / "run.log").open("ab") as file:
        file.write(b"torn\n")
    assert all(line["silo"].startswith("c") for _, line in tail.new())


def _write(writer: RunLog, name: str) -> None:
    for number in range(60):
        writer.emit(_record(f"{name}{number}"))


def _record(silo: str) -> logging.LogRecord:
    return ROUNDS.makeRecord("x", logging.INFO, "x", 1, "a line", (), None, extra={"silo": silo})


def test_a_disk_that_refuses_costs_lines_and_no_round(tmp_path: Path) -> None:
    RunLog(tmp_path / "nowhere").emit(_record("a"))
    assert list(tmp_path.iterdir()) == []


def test_every_sentence_has_one_of_the_fixed_words() -> None:
    received = {"w": np.zeros((2, 3), np.float32)}
    right = Update("r", 1, "a", received, patients=2, photos=2, loss=0.1)

    def word(update: Update, **options: object) -> Reason:
        told = {"received": received, "run": "r", "round": 1, "silo": "a", "max_norm": 1.0, **options}
        return reason_of(str(refusal(update, **told)))  # type: ignore[arg-type]

    assert [
        word(replace(right, silo="b")),
        word(replace(right, round=2)),
        word(replace(right, patients=0)),
        word(replace(right, loss=float("nan"))),
        word(replace(right, delta={})),
        word(replace(right, delta={"w": np.zeros(1, np.float32)})),
        word(replace(right, delta={"w": np.full((2, 3), np.nan, np.float32)})),
        word(replace(right, delta={"w": np.ones((2, 3), np.float32)})),
    ] == [
        *(Reason.OTHER_ROUND, Reason.OTHER_ROUND, Reason.COUNTS, Reason.NOT_FINITE),
        *(Reason.PARAMETERS, Reason.PARAMETERS, Reason.NOT_FINITE, Reason.NORM),
    ]
    assert reason_of(f"{REFUSED_BY_SILO}not connected") is Reason.REFUSED
    assert reason_of("a message does not have the agreed form") is Reason.MALFORMED


def test_the_rounds_are_read_without_the_weights(tmp_path: Path) -> None:
    summary = RoundSummary(1, 0.5, 0.1, {"a": 0.5}, {"b": "not connected"}, False, 1.0)
    weights = {"w": np.zeros(1000, np.float32)}
    checkpoints.write(tmp_path, checkpoints.Checkpoint("r", weights, (summary,)))
    path = tmp_path / checkpoints.FILE
    path.write_bytes(path.read_bytes()[:-2000])
    assert checkpoints.read_history(tmp_path) == (summary,)
    with pytest.raises(PhenofedError):
        checkpoints.read(tmp_path)
    assert checkpoints.read_history(tmp_path / "nowhere") is None
