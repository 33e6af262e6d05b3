"""What the agent does for a run: says who it is, and trains a round. The Flower client may ask for nothing else.

Everything it goes by is its own: the signed plan that its people approved, the backbone that its policy names, and
its own patients. A request that differs from the plan in anything is refused, and the refusal noted.
"""

from __future__ import annotations

import datetime
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from client.local.door import Reply, Request
from client.plans.shelf import PlanShelf
from client.silo import Silo
from client.training.forwarding import DESCRIBE, TRAIN, told
from client.training.rounds import AnsweredRounds
from client.workspace.policy import SiloPolicy
from client.workspace.workspace import Workspace
from common.consortium.plan import RunPlan
from common.errors import AgentError, ConfigError, DisclosureError, PhenofedError
from common.learning.assembly import ModelPool
from common.models.specs import BackboneSpec
from common.records import Question, Refusal, SiloDescription, TrainRequest, Update

LOG = logging.getLogger("phenofed.training")

Answer = TypeVar("Answer")
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
        note: keeps a record.
    """

    def __init__(
        self,
        workspace: Workspace,
        *,
        policy: Callable[[], SiloPolicy],
        today: Callable[[], datetime.date] = datetime.date.today,
        note: Note = log_note,
    ) -> None:
        self._workspace, self._policy, self._today, self._note = workspace, policy, today, note
        self._member = workspace.member()
        self._shelf = PlanShelf(workspace, today)
        self._rounds = AnsweredRounds(workspace.folder / "plans")
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
            return told(self.describe(Question(**request.values)))
        if request.operation == TRAIN:
            return told(self.train(_request(request)))
        self._note("training.unknown", {"operation": request.operation[:40], "user": request.user})
        raise AgentError("the training socket knows 'describe' and 'train'", remedy="update the coordinator's app")

    def describe(self, question: Question) -> SiloDescription | Refusal:
        """Who this silo is, signed for this question alone; or why it takes no part."""
        about = {"run": question.run}
        try:
            self._admitted(question.run, question.plan)
            with self._working:
                found = self._silo().describe()
            statement = found.statement(question)
            return self._noted("training.described", about, replace(found, signature=self._sign(statement)))
        except PhenofedError as error:
            return self._noted("training.refused", about, Refusal(self._workspace.name, error.what))

    def train(self, request: TrainRequest) -> Update | Refusal:
        """One round under the approved plan, signed; or why there is none."""
        about = {"run": request.run, "round": request.round}
        try:
            with self._working:
                answer = self._trained(request)
        except PhenofedError as error:
            answer = Refusal(self._workspace.name, error.what)
        if isinstance(answer, Refusal):
            return self._noted("training.refused", about, answer)
        signed = replace(answer, signature=self._sign(answer.statement))
        return self._noted("training.trained", {**about, "patients": signed.patients}, signed)

    def _trained(self, request: TrainRequest) -> Update | Refusal:
        plan = self._admitted(request.run, request.digest)
        _check_request(request, plan)
        backbone = self._backbone(plan)
        self._rounds.count(request)
        return self._silo().train(replace(request, model=backbone.model_dump(mode="json")))

    def _admitted(self, run: str, digest: str) -> RunPlan:
        if not self._policy().allow.train:
            raise DisclosureError("this hospital's policy takes no part in training", remedy="leave it out")
        plan = self._shelf.standing(run, digest)
        self._backbone(plan)
        return plan

    def _backbone(self, plan: RunPlan) -> BackboneSpec:
        """The plan's model as this machine has it.

        Raises:
            DisclosureError: the policy names another file, or none.
        """
        named = self._policy().model
        if named is None or named.backbone.sha256 not in (None, plan.model.sha256):
            raise DisclosureError(
                f"this hospital's policy allows another model than that of run {plan.run}",
                remedy="see model.backbone in policy.yaml",
            )
        # Its hash is compared when it is loaded.
        return plan.model.model_copy(update={"path": named.backbone.path})

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

    def _noted(self, event: str, about: Mapping[str, Any], answer: Answer) -> Answer:
        why = {"reason": answer.reason} if isinstance(answer, Refusal) else {}
        self._note(event, {**about, **why})
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


def _request(request: Request) -> TrainRequest:
    try:
        (content,) = request.attachments
        return TrainRequest(**request.values, parameters=load(content))
    except (ValueError, SafetensorError) as error:
        raise AgentError("the request has no arrays", remedy="run the same version on both sides") from error
