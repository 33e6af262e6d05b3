"""Hospitals whose agents' training desks serve their sockets, without Flower: who trains, and what they note."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from client.audit.answering import training_note
from client.audit.opening import open_log
from client.local.door import LocalServer
from client.plans.deciding import SOCKET
from client.training.desk import TrainingDesk
from client.training.forwarding import AgentSilo
from client.workspace.policy_in_force import PolicyInForce
from common.records import TrainRequest
from server.training.led_run import LedRun, begin_run
from simulations.weights import THIN
from tests.consortium_folder import copy_consortium
from tests.training_hospitals import NAMES, RUN, approve, found_trainers, sign_plan, workspace

DAY = datetime.date(2026, 6, 1)
NOON = datetime.datetime(2026, 6, 1, 12, tzinfo=datetime.UTC)


@dataclass
class Trial:
    """``noted``: what each hospital recorded; ``now``, ``today``: the hospitals' time, which a test may set."""

    folder: Path
    noted: dict[str, list[tuple[str, dict[str, Any]]]]
    today: datetime.date = DAY
    now: datetime.datetime = NOON
    parent: Path | None = None
    _open: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def silo(self, name: str) -> AgentSilo:
        return AgentSilo(self.folder / name / SOCKET)

    def trained(self, name: str) -> int:
        """Rounds that a hospital trained."""
        return sum(event == "training.trained" for event, _ in self.noted[name])

    def begin(self, *names: str, **changes: Any) -> LedRun:
        """A run that these hospitals approved; ``changes`` go into the plan."""
        signed = sign_plan(self.folder, **changes)
        approvals = [approve(self.folder, name, signed) for name in names or NAMES]
        relay = self.folder / "operator" / "relay"
        return begin_run(relay, signed, approvals, backbone=THIN, parent=self.parent)

    def begun(self) -> LedRun:
        """The run that ``approved_trainers`` prepared."""
        signed = self.folder / "operator" / "plans" / f"{RUN}.json"
        approvals = [self.folder / name / "plans" / f"{RUN}.approval.json" for name in NAMES]
        return begin_run(self.folder / "operator" / "relay", signed, approvals, backbone=THIN, parent=None)

    def request(self, run: LedRun, **changes: Any) -> TrainRequest:
        """The first round's request."""
        led = run.coordination()
        request = TrainRequest(led.run, 1, led.seed, led.model, led.plan, led.initial, led.digest)
        return replace(request, **changes)

    def open(self, name: str) -> None:
        """Let a hospital's desk serve; what it notes goes into its audit log as well."""
        space = workspace(self.folder, name)
        audited = training_note(open_log(space))

        def note(event: str, about: Any) -> None:
            self.noted.setdefault(name, []).append((event, dict(about)))
            audited(event, about)

        desk = TrainingDesk(
            space,
            policy=PolicyInForce(space.folder / "policy.yaml"),
            today=lambda: self.today,
            now=lambda: self.now,
            note=note,
        )
        self._open.callback(LocalServer(space.folder / SOCKET, desk.handle).close)


def approved_trainers(folder: Path, **changes: Any) -> Path:
    """What ``found_trainers`` makes, with a plan that every hospital approved; ``changes`` go into it."""
    signed = sign_plan(found_trainers(folder), **changes)
    for name in NAMES:
        approve(folder, name, signed)
    return folder


@contextlib.contextmanager
def training_desks(made: Path, folder: Path) -> Iterator[Trial]:
    """A copy of what ``found_trainers`` made, all desks open."""
    trial = Trial(copy_consortium(made, folder), {name: [] for name in NAMES})
    with trial._open:
        for name in NAMES:
            trial.open(name)
        yield trial
