"""What a leading process keeps of its run for whoever watches it: state, figures and log."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from common.errors import PhenofedError, RunError
from server.round_log import NAME
from server.training.led_run import LedRun
from server.training.metrics import RunMetrics
from server.training.run_log import Line, Tail, kept_log
from server.training.run_state import Phase, RunState, read_state, write_state

LOG = logging.getLogger(f"{NAME}.leading")

Echo = Callable[[str], None]
"""Given each line of the run's log as it comes, those of the ServerApp among them."""


class Watching:
    """Follows the log that the ServerApp writes, and keeps the run's state by it; made by ``watching``."""

    def __init__(self, run: LedRun, state: RunState, echo: Echo) -> None:
        self._run, self._state, self._echo = run, state, echo
        self._tail = Tail(run.path)
        self.notices: list[str] = []
        """What the operator should read while the run goes on."""
        self.gave_up = False
        """Whether the round loop itself ended the run, in place of a crash."""
        write_state(run.path, state)

    def tell(self, event: str, text: str, **more: object) -> None:
        """Write a line of the leading process into the log; one that tells an ``error`` as such."""
        level = logging.ERROR if "error" in more else logging.INFO
        LOG.log(level, text, extra={"event": event, "run": self._run.plan.run, **more})

    def follow(self) -> None:
        """Take in what was logged since the last call."""
        before = self._state
        for text, line in self._tail.new():
            self._echo(text)
            self._take(line)
        if self._state != before:
            write_state(self._run.path, self._state)

    def end(self, phase: Phase, reason: str = "", kind: str = "") -> None:
        """Say how the leading ended."""
        text = f"the run stopped ({kind})" if kind else f"the run is {phase.value}"
        self.tell(f"run.{phase.value}", text, **({"error": kind} if kind else {}))
        self.follow()
        self._state = self._state.now(phase, reason=reason)
        write_state(self._run.path, self._state)

    def _take(self, line: Line) -> None:
        event, number, silos = line.get("event"), line.get("round"), line.get("silos")
        if event == "round.began" and isinstance(number, int) and isinstance(silos, list):
            began = self._state.now(Phase.TRAINING)
            self._state = replace(began, round=number, connected=tuple(map(str, silos)))
        elif event == "silo.outdated":
            self.notices.append(str(line.get("message")))
        elif event == "rounds.stopped":
            self.gave_up = True


@contextmanager
def watching(run: LedRun, listen: str, *, metrics_port: int, echo: Echo) -> Iterator[Watching]:
    """Keep state, figures and log until the end of the context, and say there how it ended.

    Raises:
        RunError: the port for figures is taken.
    """
    former = _former(run.path)
    with kept_log(run.path), RunMetrics(run.path, run.relay.certificate.read_bytes).serve(metrics_port) as server:
        state = RunState(
            Phase.WAITING,
            since=time.time(),
            pid=os.getpid(),
            leads=1 + (former.leads if former else 0),
            approved=len(run.approvals),
            listen=listen,
            metrics_port=server.port,
        )
        watch = Watching(run, state, echo)
        done = run.history()
        if former is None:
            watch.tell("run.began", "the run begins", silos=sorted(run.approvals))
        else:
            watch.tell("run.resumed", f"the run goes on after round {len(done)}", round=len(done))
        try:
            yield watch
        except KeyboardInterrupt:
            watch.end(Phase.INTERRUPTED)
            raise
        except BaseException as error:
            why = error.what if isinstance(error, PhenofedError) else f"a defect ({type(error).__name__})"
            watch.end(Phase.STOPPED, why, type(error).__name__)
            raise
        watch.end(Phase.DONE)


def _former(run: Path) -> RunState | None:
    try:
        return read_state(run)
    except RunError:
        return None
