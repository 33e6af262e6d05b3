"""What the agent does for a run: says who it is, and trains a round. The Flower client may ask for nothing else.

Everything it goes by is its own: the signed plan that its people approved, the backbone that its policy names, and
its own patients. A request that differs from the plan in anything is refused, and the refusal noted. What is sent
has gone through the steps in ``postprocessors``.
"""

from __future__ import annotations

import datetime
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from client.audit.entry import reason_of
from client.local.door import Reply, Request
from client.plans.shelf import PlanShelf
from client.plans.terms import Terms
from client.silo import Silo
from client.training.begun_runs import BegunRuns
from client.training.forwarding import DESCRIBE, TRAIN, told
from client.training.meeting import check_protocol, meet
from client.training.postprocessors.cap import PatientCap
from client.training.postprocessors.order import postprocessed, steps
from client.training.postprocessors.step import Treated
from client.training.reading import check_fit, question_of, train_request_of
from client.training.rounds import AnsweredRounds
from client.workspace.hours import utc_now
from client.workspace.model_policy import OtherModel
from client.workspace.policy import InvalidPolicy, NotInForce, SiloPolicy
from client.workspace.training_policy import BelowFloor
from client.workspace.workspace import Workspace
from common.consortium.plan import RunPlan
from common.errors import AgentError, ConfigError, DisclosureError, PhenofedError, TrainingError, VersionError
from common.learning.assembly import ModelPool
from common.models.specs import BackboneSpec
from common.records import Question, Refusal, SiloDescription, TrainRequest, Update
from common.records import digest as digest_of
from common.versions import OWN

LOG = logging.getLogger("phenofed.training")

Answer = TypeVar("Answer")
Asked = TypeVar("Asked")
Note = Callable[[str, Mapping[str, Any]], None]
"""Told of each answer and refusal: what happened, and about which run and round; never about a patient."""


def log_note(event: str, about: Mapping[str, Any]) -> None:
    """A record in the log alone."""
    LOG.info("%s %s", event, " ".join(f"{key}={value}" for key, value in about.items()))


class TrainingDesk:
    """One silo's training.

    Args:
        policy: what the hospital allows now.
        today: the day by which plans expire and consents are judged.
        now: the time by which hours are judged.
        note: keeps a record.
    """

    def __init__(
        self,
        workspace: Workspace,
        *,
        policy: Callable[[], SiloPolicy],
        today: Callable[[], datetime.date] = datetime.date.today,
        now: Callable[[], datetime.datetime] = utc_now,
        note: Note = log_note,
    ) -> None:
        self._workspace, self._policy, self._today, self._now, self._note = workspace, policy, today, now, note
        self._member = workspace.member()
        self._shelf, self._terms = PlanShelf(workspace, today), Terms(workspace)
        self._rounds = AnsweredRounds(workspace.folder / "plans")
        self._begun = BegunRuns(workspace.folder / "plans")
        self._pool = ModelPool()
        self._opened: tuple[int, Silo] | None = None
        # The model is one copy in memory, and rounds are rare: whoever comes second waits.
        self._working = threading.Lock()

    def handle(self, request: Request) -> Reply:
        """Answer what the Flower client forwards.

        Raises:
            AgentError: it asks for anything but its two operations.
        """
        if request.operation == DESCRIBE:
            return told(self.describe(self._read(question_of, request)))
        if request.operation == TRAIN:
            return told(self.train(self._read(train_request_of, request)))
        self._note("training.unknown", {"operation": request.operation[:40], "user": request.user})
        raise AgentError("the training socket knows 'describe' and 'train'", remedy="update the coordinator's app")

    def _read(self, read: Callable[[Request], Asked], request: Request) -> Asked:
        try:
            return read(request)
        except AgentError:
            self._note("training.unknown", {"operation": request.operation[:40], "user": request.user})
            raise

    def describe(self, question: Question) -> SiloDescription | Refusal:
        """Who this silo is, signed for this question alone; or why it takes no part.

        Hours do not matter here: a silo that trains at night is part of the run by day.
        """
        about = {"run": question.run}
        try:
            meet(question, self._workspace.name)
            policy = self._in_force()
            self._admitted(question.run, question.plan, policy)
            with self._working:
                found = self._silo().describe(question)
            found = replace(found, patients=PatientCap(policy.training.patient_cap).stated(found.patients))
            statement = found.statement(question)
            return self._noted("training.described", about, replace(found, signature=self._sign(statement)))
        except VersionError as error:
            return replace(
                self._refused(about, error), reason=str(error), hello=OWN.text if question.hello else ""
            )
        except PhenofedError as error:
            return self._refused(about, error)

    def train(self, request: TrainRequest) -> Update | Refusal:
        """One round under the approved plan, as the policy lets it out, signed; or why there is none."""
        about = {"run": request.run, "round": request.round}
        try:
            with self._working:
                treated = self._trained(request)
        except PhenofedError as error:
            return self._refused(about, error)
        signed = replace(treated.update, signature=self._sign(treated.update.statement))
        return self._noted("training.trained", {**about, **treated.facts}, signed)

    def _trained(self, request: TrainRequest) -> Treated:
        check_protocol(request, self._workspace.name)
        policy = self._in_force()
        plan, backbone = self._admitted(request.run, request.digest, policy)
        _check_request(request, plan)
        self._check_start(request, plan, policy)
        policy.hours.check("train", self._now(), silo=self._workspace.name)
        silo, least = self._silo(), policy.training.least_patients
        if silo.describe().patients < least:
            raise BelowFloor(
                f"{self._workspace.name} trains on at least {least} patients and has fewer",
                remedy="leave it out until it has more",
            )
        # What does not fit is no round that was asked for: it uses up nothing.
        check_fit(request.parameters, self._pool.initial(backbone, plan.training))
        self._begun.begin(request.run, self._today(), policy.training.most_runs_a_year)
        self._rounds.count(request)
        answer = silo.train(replace(request, model=backbone.model_dump(mode="json")))
        if isinstance(answer, Refusal):
            raise TrainingError(answer.reason, remedy="see the hospital's log")
        return postprocessed(answer, steps(policy.training, plan))

    def _in_force(self) -> SiloPolicy:
        """The policy of now. What is wrong with an invalid one is no matter of the coordinator's."""
        try:
            return self._policy()
        except InvalidPolicy as error:
            raise NotInForce(self._workspace.name) from error

    def _admitted(self, run: str, digest: str, policy: SiloPolicy) -> tuple[RunPlan, BackboneSpec]:
        if not policy.allow.train:
            raise DisclosureError("this hospital's policy takes no part in training", remedy="leave it out")
        plan = self._shelf.standing(run, digest)
        return plan, self._terms.check(plan, policy)

    def _check_start(self, request: TrainRequest, plan: RunPlan, policy: SiloPolicy) -> None:
        """Check that a run which begins from a release does so: its signer was trusted, no other weights were."""
        parent = self._terms.parent(plan, policy) if request.round == 1 else None
        if parent is not None and digest_of(request.parameters) != parent.manifest.parameters_digest:
            raise OtherModel(
                f"round 1 of run {plan.run} does not begin from release {plan.parent}",
                remedy="lead the run from the release that the plan names",
            )

    def _silo(self) -> Silo:
        """The silo over its patients as they are stored now: who withdrew is in no later round."""
        manifest = self._workspace.cohort_folder / "manifest.json"
        try:
            stamp = manifest.stat().st_mtime_ns
        except OSError as error:
            raise AgentError("no patients were imported yet", remedy="run phenofed silo import") from error
        if self._opened is None or self._opened[0] != stamp:
            name, folder = self._workspace.name, self._workspace.folder
            self._opened = (stamp, Silo(name, folder, pool=self._pool, today=self._today))
        return self._opened[1]

    def _sign(self, statement: bytes) -> str:
        return self._member.sign(statement).hex()

    def _refused(self, about: Mapping[str, Any], error: PhenofedError) -> Refusal:
        told = {**about, "reason": error.what, "why": reason_of(error)}
        return self._noted("training.refused", told, Refusal(self._workspace.name, error.what))

    def _noted(self, event: str, about: Mapping[str, Any], answer: Answer) -> Answer:
        self._note(event, about)
        return answer


def _check_request(request: TrainRequest, plan: RunPlan) -> None:
    """Check a round's request against the approved plan.

    Raises:
        ConfigError: it differs; every difference in one message.
    """
    agreed = {
        "seed": request.seed == plan.seed,
        "model": request.model == plan.model.model_dump(mode="json"),
        "training": request.plan == plan.training.model_dump(mode="json"),
        "round": 1 <= request.round <= plan.training.rounds,
        "parameters": all(bool(np.isfinite(value).all()) for value in request.parameters.values()),
    }
    differing = [key for key, agrees in agreed.items() if not agrees]
    if differing:
        raise ConfigError(
            f"the request differs from the approved plan of run {plan.run} in {', '.join(differing)}",
            remedy="lead the run by the plan that was signed",
        )
