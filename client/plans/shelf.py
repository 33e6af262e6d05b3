"""The plans that a silo was sent, and what its people decided: files under ``WORKSPACE/plans``.

RUN.json            the plan as the operator signed it
RUN.decision.json   approved or refused, by whom and when
RUN.approval.json   the signed word for the operator
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from client.plans.terms import Terms
from client.workspace.workspace import Workspace
from common.config import Settings
from common.consortium.approval import write_approval
from common.consortium.console import read_file
from common.consortium.fields import Hash
from common.consortium.plan import MAX_BYTES, RunPlan, read_plan
from common.consortium.succession import read_by
from common.errors import ConfigError, DisclosureError
from common.storage import write_bytes, write_text
from common.versions import refuse_newer

BY_POLICY = "policy"


class Decision(Settings):
    """``by``: the OS user, or 'policy'. ``plan``: the digest of what was decided on."""

    version: Literal[1] = 1
    plan: Hash
    decision: Literal["approved", "refused"]
    by: str
    at: datetime.datetime


@dataclass(frozen=True)
class HeldPlan:
    """A plan that lies here. ``decision``: None while nobody has decided."""

    plan: RunPlan
    decision: Decision | None

    def state(self, today: datetime.date) -> str:
        """One word or two for people."""
        if self.plan.expired(today):
            return "expired"
        return self.decision.decision if self.decision else "undecided"


class PlanShelf:
    """The plans of one workspace; each read verifies signatures anew.

    Args:
        today: the day by which plans expire.
    """

    def __init__(self, workspace: Workspace, today: Callable[[], datetime.date] = datetime.date.today) -> None:
        self._workspace, self._today = workspace, today
        self._folder = workspace.folder / "plans"

    def add(self, content: bytes) -> HeldPlan:
        """Keep a plan; one that lies here already stays as it is.

        Raises:
            ConfigError: not signed by the consortium's key, of another consortium, without this silo, expired, or
                another plan of a run's name that was used.
        """
        plan = read_plan(content, self._workspace.offline_key)
        name = self._workspace.name
        if plan.consortium != self._workspace.about.consortium:
            raise ConfigError(f"the plan is one of {plan.consortium}", remedy="ask the operator for your own")
        if name not in plan.silos:
            raise ConfigError(
                f"run {plan.run} does not name {name}", remedy=f"nothing to do: it asks {', '.join(plan.silos)}"
            )
        if plan.expired(self._today()):
            raise ConfigError(f"run {plan.run} ended on {plan.expires}", remedy="ask for a new plan")
        path = self._folder / f"{plan.run}.json"
        if path.exists() and path.read_bytes() != content:
            raise ConfigError(
                f"another plan of the name {plan.run} lies here",
                remedy="ask the operator for a plan of a new name",
            )
        write_bytes(path, content, private=True)
        return self.find(plan.run)

    def all(self) -> list[HeldPlan]:
        """Every plan, by the name of its run."""
        paths = sorted(path for path in self._folder.glob("*.json") if "." not in path.stem)
        return [self._held(path) for path in paths]

    def find(self, run: str) -> HeldPlan:
        """The plan of a run.

        Raises:
            ConfigError: there is none, or its file was altered.
        """
        path = self._folder / f"{run}.json"
        if "/" in run or "." in run or not path.is_file():
            raise ConfigError(
                f"no plan of a run '{run[:40]}' lies here", remedy="run phenofed silo plans add FILE"
            )
        return self._held(path)

    def approve(self, run: str, *, by: str, node_key: str) -> Path:
        """Approve; gives the file that the operator needs.

        Args:
            node_key: public key of the Flower node that will connect.

        Raises:
            DisclosureError, ConfigError: it is not ``approvable``.
        """
        plan = self.approvable(run)
        path = self._folder / f"{run}.approval.json"
        write_bytes(path, write_approval(self._workspace.member(), plan, node_key), private=True)
        self._decide(plan, "approved", by)
        return path

    def approvable(self, run: str) -> RunPlan:
        """A plan that may be approved now.

        Raises:
            DisclosureError: the policy takes no part in training, or not on such terms.
            ConfigError: no such plan, or it expired.
        """
        plan = self.find(run).plan
        Terms(self._workspace).check(plan, self._workspace.policy())
        if plan.expired(self._today()):
            raise ConfigError(f"run {run} ended on {plan.expires}", remedy="ask for a new plan")
        return plan

    def refuse(self, run: str, *, by: str) -> None:
        """Refuse, or take an approval back: from now on no round of the run is trained here.

        Raises:
            ConfigError: no such plan.
        """
        held = self.find(run)
        (self._folder / f"{run}.approval.json").unlink(missing_ok=True)
        self._decide(held.plan, "refused", by)

    def standing(self, run: str, digest: str) -> RunPlan:
        """The approved plan of a run, if it is the one of that digest.

        Raises:
            DisclosureError: it is another, was not approved, expired, or does not name this silo.
            ConfigError: no such plan, or altered files.
        """
        held = self.find(run)
        plan, decision = held.plan, held.decision
        if plan.digest != digest:
            raise DisclosureError(f"another plan of run {run} lies here", remedy="see phenofed silo plans")
        if self._workspace.name not in plan.silos:
            raise DisclosureError(f"run {run} does not name this silo", remedy="leave it out")
        if decision is None or decision.plan != digest or decision.decision != "approved":
            raise DisclosureError(f"nobody approved run {run} here", remedy="run phenofed silo plans approve")
        if plan.expired(self._today()):
            raise DisclosureError(f"the plan of run {run} ended on {plan.expires}", remedy="ask for a new plan")
        return plan

    def _decide(self, plan: RunPlan, decision: Literal["approved", "refused"], by: str) -> None:
        now = datetime.datetime.now(tz=datetime.UTC).replace(microsecond=0)
        entry = Decision(plan=plan.digest, decision=decision, by=by, at=now)
        path = self._folder / f"{plan.run}.decision.json"
        write_text(path, entry.model_dump_json(indent=1) + "\n", private=True)

    def _held(self, path: Path) -> HeldPlan:
        plan = read_by(self._workspace.offline_keys.all, read_plan, read_file(path, limit=MAX_BYTES))
        if plan.run != path.stem:
            raise ConfigError(f"{path} holds the plan of run {plan.run}", remedy="restore the file")
        beside = path.with_name(f"{path.stem}.decision.json")
        try:
            content = beside.read_bytes() if beside.exists() else b""
            refuse_newer(str(beside), content, kind=ConfigError)
            decision = Decision.model_validate_json(content) if content else None
        except (OSError, ValidationError) as error:
            raise ConfigError(
                f"{beside} is damaged", remedy="decide again: phenofed silo plans approve"
            ) from error
        return HeldPlan(plan, decision)
