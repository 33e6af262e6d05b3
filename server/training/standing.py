"""How a run stands, from its folder alone: read only, while a process leads it and after that one crashed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from common.errors import PhenofedError, RunError
from common.releases.bare import holds_bare
from server import checkpoints
from server.checkpoints import RoundSummary
from server.training.facts import read_signed_plan
from server.training.led_run import RUNS
from server.training.run_state import Phase, RunState, is_led, read_state

GRACE_SECONDS = 120.0
"""Beyond a round's deadline: nodes are asked who they are, weights travel and are added up."""


class Standing(StrEnum):
    """Every way in which a run may stand."""

    READY = "ready"
    WAITING = "waiting"
    TRAINING = "training"
    STALLED = "stalled"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"
    CRASHED = "crashed"
    DONE = "done"
    RELEASED = "released"
    UNREADABLE = "unreadable"


WORKING = frozenset({Standing.WAITING, Standing.TRAINING, Standing.STALLED})
NEEDING = frozenset({Standing.STALLED, Standing.STOPPED, Standing.CRASHED, Standing.UNREADABLE})
"""Standings that wait for somebody to act."""


@dataclass(frozen=True)
class RunStanding:
    """One run at one moment.

    Attributes:
        plan: digest of the signed plan.
        done, rounds: rounds done, of how many.
        discarded: rounds that lacked a quorum; ``row``: those since the last that counted.
        last: the last round done.
        since: when it began to stand so, in seconds since 1970; of a crash, the last sign of life.
        checkpoint_seconds: age of the checkpoint; None where there is none.
        what: a line for people: why it stands so, and what to do.
    """

    run: str
    path: Path
    standing: Standing
    plan: str = ""
    silos: tuple[str, ...] = ()
    deadline_s: float = 0.0
    rounds: int = 0
    done: int = 0
    discarded: int = 0
    row: int = 0
    last: RoundSummary | None = None
    history: tuple[RoundSummary, ...] = ()
    state: RunState | None = None
    since: float | None = None
    checkpoint_seconds: float | None = None
    what: str = ""

    def to_json(self) -> dict[str, Any]:
        """For scripts."""
        last, state = self.last, self.state
        return {
            "run": self.run,
            "folder": str(self.path),
            "standing": self.standing.value,
            "what": self.what,
            "plan": self.plan,
            "silos": list(self.silos),
            "round": self.done,
            "rounds": self.rounds,
            "discarded": self.discarded,
            "counted_last": sorted(last.losses) if last else [],
            "excluded_last": dict(sorted(last.excluded.items())) if last else {},
            "last_round_seconds": last.seconds if last else None,
            "since": self.since,
            "led_by": state.pid if state and self.standing in WORKING else None,
            "listen": state.listen if state else "",
            "metrics_port": state.metrics_port if state and self.standing in WORKING else None,
            "resumes": state.leads - 1 if state else 0,
        }


def run_folders(relay: Path) -> list[Path]:
    """The folders of all runs below the relay's folder, by name."""
    return sorted(path.parent for path in (relay / RUNS).glob("*/plan.json"))


def standing_of(run: Path) -> RunStanding:
    """How the run in this folder stands. What cannot be read of it is told by the standing itself.

    Raises:
        RunError: the folder holds no run.
    """
    if not (run / "plan.json").is_file():
        raise RunError(f"{run} holds no run", remedy="give a folder below FOLDER/runs")
    name = run.resolve().name
    # Before the files: a process that begins in between is led, one that ends in between has written its end.
    led = is_led(run)
    try:
        plan, state = read_signed_plan(run), read_state(run)
        history = checkpoints.read_history(run)
    except PhenofedError as error:
        return RunStanding(name, run, Standing.UNREADABLE, what=str(error))
    rounds, done = plan.training.rounds, len(history or ())
    row = next((i for i, summary in enumerate(reversed(history or ())) if not summary.discarded), done)
    standing = _standing(run, led, state, finished=done >= rounds, deadline_s=plan.deadline_s)
    return RunStanding(
        plan.run,
        run,
        standing,
        plan=plan.digest,
        silos=plan.silos,
        deadline_s=plan.deadline_s,
        rounds=rounds,
        done=done,
        discarded=sum(summary.discarded for summary in history or ()),
        row=row,
        last=history[-1] if history else None,
        history=history or (),
        state=state,
        since=state.since if state else None,
        checkpoint_seconds=_age(run / checkpoints.FILE),
        what=_words(run, standing, state, done, row),
    )


def _standing(run: Path, led: bool, state: RunState | None, *, finished: bool, deadline_s: float) -> Standing:
    if state is None:
        return Standing.WAITING if led else Standing.RELEASED if _released(run) else Standing.READY
    if led and state.phase in (Phase.WAITING, Phase.TRAINING):
        late = time.time() - state.since > deadline_s + GRACE_SECONDS
        return Standing.STALLED if late else Standing(state.phase.value)
    if finished and _released(run):
        return Standing.RELEASED
    if state.phase in (Phase.STOPPED, Phase.INTERRUPTED):
        return Standing(state.phase.value)
    return Standing.DONE if finished else Standing.CRASHED


def _released(run: Path) -> bool:
    return holds_bare(run / "release")


def _words(run: Path, standing: Standing, state: RunState | None, done: int, row: int) -> str:
    resume = f"phenofed coordinator resume {run}"
    reason = state.reason if state else ""
    return {
        Standing.READY: f"not led yet: {resume}",
        Standing.WAITING: "waiting for silos",
        Standing.TRAINING: f"training; {row} discarded in a row" if row else "training",
        Standing.STALLED: f"stalled; read {run / 'flower' / 'superlink.log'}, end the process, then {resume}",
        Standing.STOPPED: f"stopped: {reason}; then {resume}",
        Standing.INTERRUPTED: f"ended by hand after round {done}: {resume}",
        Standing.CRASHED: f"ended without saying so after round {done}: {resume}",
        Standing.DONE: f"all rounds are done, the release is not written: {resume}",
        Standing.RELEASED: f"done; its release is {run / 'release'}",
        Standing.UNREADABLE: "",
    }[standing]


def _age(path: Path) -> float | None:
    try:
        return max(0.0, time.time() - path.stat().st_mtime)
    except OSError:
        return None
