"""A run on the coordinator's machine: ``FOLDER/runs/RUN`` beside the relay's files.

plan.json              as the operator signed it
approvals/             of the silos that take part
checkpoint.safetensors the shared model after the rounds done; at first as training begins
release/               the model once all rounds are done
flower/                what Flower is started with, and its log
run.log, state.json    what happened, and how the run stands now
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from common.consortium.approval import MAX_BYTES as MAX_APPROVAL
from common.consortium.approval import Approval, approvals_of
from common.consortium.console import read_file
from common.consortium.identity import Card
from common.consortium.plan import MAX_BYTES, RunPlan, read_plan
from common.consortium.roster import Roster
from common.consortium.roster import read_roster as parse_roster
from common.consortium.signed_file import MAX_BYTES as MAX_ROSTER
from common.consortium.succession import read_by
from common.errors import ConfigError, RunError, TrainingError, WeightsError
from common.federation import Coordination
from common.releases.bare import write_release
from common.storage import write_bytes
from server import checkpoints
from server.checkpoints import Checkpoint, RoundSummary
from server.relay.offline_keys import offline_keys
from server.relay.roster import WatchedRoster
from server.relay.settings import RelaySettings, read_settings

if TYPE_CHECKING:
    from common.records import Parameters

RUNS = "runs"


@dataclass(frozen=True)
class LedRun:
    """What a run's folder holds, verified. ``approvals``: by silo; ``relay``: the settings of the folder above."""

    path: Path
    plan: RunPlan
    roster: Roster
    approvals: dict[str, Approval]
    relay: RelaySettings

    @property
    def release(self) -> Path:
        """The folder of the finished model."""
        return self.path / "release"

    def checkpoint(self) -> Checkpoint:
        """The newest.

        Raises:
            RunError: there is none, or it is damaged.
        """
        found = checkpoints.read(self.path)
        if found is None:
            raise RunError(f"{self.path} has no checkpoint", remedy="start the run: phenofed coordinator train")
        return found

    def history(self) -> tuple[RoundSummary, ...]:
        """The rounds done, without the weights.

        Raises:
            RunError: the checkpoint is damaged.
        """
        return checkpoints.read_history(self.path) or ()

    def coordination(self) -> Coordination:
        """The run as the round loop wants it. Silos that did not approve are no part of it."""
        plan = self.plan
        return Coordination(
            run=plan.run,
            seed=plan.seed,
            rounds=plan.training.rounds,
            silos=tuple(sorted(self.approvals, key=str.encode)),
            model=plan.model.model_dump(mode="json"),
            plan=plan.training.model_dump(mode="json"),
            initial=self.checkpoint().parameters,
            folder=self.path,
            deadline_s=plan.deadline_s,
            quorum=plan.quorum,
            max_update_norm=plan.max_update_norm,
            patient_cap=plan.patient_cap,
            least=plan.least,
            digest=plan.digest,
            cards={name: self.roster.member(name).card for name in self.approvals},
            members=self._members(),
            fetched_apart=True,
        )

    def _members(self) -> Callable[[], Mapping[str, Card]]:
        """Follows the roster in the relay's folder, as the relay does."""
        roster = WatchedRoster(self.relay.roster, bytes.fromhex(self.relay.roster_key))

        def listed() -> Mapping[str, Card]:
            roster.refresh()
            return {member.name: member.card for member in roster.roster.members}

        return listed

    def write_release(self) -> Path:
        """The model as a release; gives its folder.

        Raises:
            TrainingError: rounds are left to do.
        """
        plan, last = self.plan, self.checkpoint()
        if last.round < plan.training.rounds:
            raise TrainingError(
                f"run {plan.run} has done {last.round} of {plan.training.rounds} rounds",
                remedy="go on with phenofed coordinator resume",
            )
        if all(summary.discarded for summary in last.history):
            raise TrainingError(
                f"every round of run {plan.run} was discarded: nothing was learnt",
                remedy="see the checkpoint's reasons, and start a run of a new name",
            )
        write_release(
            self.release,
            last.parameters,
            scenario=plan.run,
            seed=plan.seed,
            rounds=last.round,
            backbone=plan.model,
            training=plan.training,
            encoding=plan.encoding,
        )
        return self.release


def open_run(path: Path, *, today: Callable[[], datetime.date] = datetime.date.today) -> LedRun:
    """The run in a folder that ``begin_run`` made.

    Raises:
        ConfigError: the plan, the roster or an approval cannot be used.
        TrainingError: the plan expired, or fewer silos approved than it asks for.
    """
    if not (path / "plan.json").is_file():
        raise RunError(f"{path} holds no run", remedy="start it: phenofed coordinator train")
    relay = read_settings(path.parents[1])
    keys = offline_keys(relay)
    roster = parse_roster(read_file(relay.roster, limit=MAX_ROSTER), keys.newest)
    plan = read_by(keys.all, read_plan, read_file(path / "plan.json", limit=MAX_BYTES))
    if plan.consortium != roster.consortium:
        raise ConfigError(f"the plan is one of {plan.consortium}", remedy=f"use one of {roster.consortium}")
    if plan.expired(today()):
        raise TrainingError(f"the plan of run {plan.run} ended on {plan.expires}", remedy="sign a new plan")
    contents = [read_file(file, limit=MAX_APPROVAL) for file in sorted((path / "approvals").glob("*.json"))]
    found = approvals_of(contents, plan, roster)
    if len(found) < max(2, plan.quorum, plan.least):
        missing = ", ".join(name for name in plan.silos if name not in found)
        raise TrainingError(
            f"{len(found)} of the {plan.least} silos that run {plan.run} needs have approved; missing: {missing}",
            remedy="ask them, or sign a plan with go_on_with_at_least",
        )
    return LedRun(path, plan, roster, found, relay)


def begin_run(
    folder: Path,
    plan_file: Path,
    approvals: Iterable[Path],
    *,
    backbone: Path,
    parent: Path | None,
    today: Callable[[], datetime.date] = datetime.date.today,
) -> LedRun:
    """A new run in the relay's folder.

    Args:
        approvals: the files that hospitals sent.
        backbone: the file that the plan names by hash.
        parent: the release that training begins from, where the plan names one.

    Raises:
        RunError: a run of that name was started.
        PhenofedError: as ``open_run``; or backbone or parent are not those of the plan.
    """
    content = read_file(plan_file, limit=MAX_BYTES)
    plan = read_plan(content, offline_keys(read_settings(folder)).newest)
    path = folder / RUNS / plan.run
    if (path / checkpoints.FILE).exists():
        raise RunError(f"run {plan.run} was started", remedy=f"go on with phenofed coordinator resume {path}")
    write_bytes(path / "plan.json", content)
    for file in sorted((path / "approvals").glob("*.json")):
        file.unlink()
    for number, file in enumerate(approvals):
        write_bytes(path / "approvals" / f"{number:04d}.json", read_file(file, limit=MAX_APPROVAL))
    run = open_run(path, today=today)
    checkpoints.write(path, Checkpoint(plan.run, _initial(plan, backbone, parent)))
    return run


def _initial(plan: RunPlan, backbone: Path, parent: Path | None) -> Parameters:
    """The shared parameters that training begins from."""
    # Both load torch, which the ServerApp's process never does.
    from common.learning.assembly import ModelPool
    from common.releases.package import read_model

    initial = ModelPool().initial(plan.model.model_copy(update={"path": backbone}), plan.training)
    if plan.parent is None:
        return initial
    if parent is None:
        raise ConfigError(f"run {plan.run} begins from release {plan.parent}", remedy="give it with --parent")
    found = read_model(parent)
    if found.digest != plan.parent_digest:
        raise WeightsError(f"{parent} is {found.name}, the plan names {plan.parent}", remedy="give that release")
    shapes = {path: value.shape for path, value in found.parameters.items()}
    if shapes != {path: value.shape for path, value in initial.items()}:
        raise WeightsError(
            f"release {plan.parent} has other trainable parameters than run {plan.run}",
            remedy="plan with its trainable_fraction",
        )
    return found.parameters
