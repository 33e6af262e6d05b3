"""Leading a run from its approvals to its release: SuperLink, nodes, ServerApp, and what it says meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from common.consortium.fields import split_address
from common.errors import ConfigError, FlowerError, TrainingError
from server.checkpoints import RoundSummary
from server.training.led_run import LedRun
from server.training.run_state import leading_alone
from server.training.superlink import SuperLink, end_left, superlink
from server.training.watching import Echo, Watching, watching

CHECKPOINT_SECONDS, STATUS_SECONDS = 0.5, 5.0

Say = Callable[[str], None]


def lead(
    run: LedRun, *, listen: str, say: Say, metrics_port: int | None = None, echo: Echo = lambda line: None
) -> Path:
    """Lead ``run`` to its end, from its newest checkpoint; gives the folder of its release.

    Args:
        metrics_port: for figures, on loopback; by default that of relay.yaml. 0 leaves it to the system.
        echo: given each line of the run's log as it comes.

    Raises:
        TrainingError: too few silos take part, or rounds lack a quorum.
        FlowerError: Flower does not start, or ended by itself.
        RunError: another process leads it, or the port for figures is taken.
    """
    port = run.relay.training_metrics_port if metrics_port is None else metrics_port
    with leading_alone(run.path), watching(run, listen, metrics_port=port, echo=echo) as watch:
        # A killed coordinator leaves it behind, perhaps with a ServerApp that still writes checkpoints.
        end_left(run.path)
        if run.checkpoint().round < run.plan.training.rounds:
            nodes = {silo: approval.node_key for silo, approval in run.approvals.items()}
            with superlink(run, listen, nodes=nodes) as link:
                watch.tell("superlink.started", f"the SuperLink listens at {listen}")
                say(f"run {run.plan.run} waits at {listen} for {', '.join(sorted(run.approvals))}")
                _watch(run, link, link.start_run(), say, watch)
            watch.tell("superlink.ended", "the SuperLink is ended")
        release = run.write_release()
        watch.tell("release.written", "the release is written")
        return release


def listening(run: LedRun, wanted: str | None) -> str:
    """Where the SuperLink listens: as wanted, else on this machine alone, at the plan's port.

    Raises:
        ConfigError: what is wanted is no address.
    """
    try:
        _, port = split_address(wanted or run.plan.superlink)
    except ValueError as error:
        raise ConfigError(f"--listen: {error}", remedy="write it as HOST:PORT") from error
    return wanted or f"127.0.0.1:{port}"


def _watch(run: LedRun, link: SuperLink, number: str, say: Say, watch: Watching) -> None:
    """Tell of each round until the ServerApp ends."""
    told, looked = len(run.history()), time.monotonic()
    while True:
        time.sleep(CHECKPOINT_SECONDS)
        watch.follow()
        while watch.notices:
            say(watch.notices.pop(0))
        history = run.history()
        for summary in history[told:]:
            say(_words(summary, run.plan.training.rounds))
        told = len(history)
        going = link.runs and not watch.gave_up and told < run.plan.training.rounds
        due = STATUS_SECONDS if going else CHECKPOINT_SECONDS
        if time.monotonic() - looked < due:
            continue
        status, reason = link.status(number)
        looked = time.monotonic()
        if status.startswith("finished"):
            # The last round may have ended while Flower was asked.
            told = _tell_rounds(run, told, say, watch)
        if status == "finished:completed":
            return
        if status.startswith("finished"):
            kind = TrainingError if watch.gave_up else FlowerError
            why = reason.removeprefix("ServerApp failed with ").removeprefix("exception: ")
            raise kind(
                f"run {run.plan.run} stopped after round {told} ({why})",
                remedy=f"mend it, then phenofed coordinator resume {run.path}",
            )


def _tell_rounds(run: LedRun, told: int, say: Say, watch: Watching) -> int:
    """Tell of the rounds after the first ``told``; gives how many are told of now."""
    watch.follow()
    history = run.history()
    for summary in history[told:]:
        say(_words(summary, run.plan.training.rounds))
    return len(history)


def _words(summary: RoundSummary, rounds: int) -> str:
    state = "discarded" if summary.discarded else f"{len(summary.losses)} silos"
    left_out = "".join(f"; {silo}: {reason}" for silo, reason in sorted(summary.excluded.items()))
    return f"round {summary.round} of {rounds}: {state} in {summary.seconds:.1f} s{left_out}"
