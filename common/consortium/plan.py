"""A run's plan: who trains what together, how, and until when, signed by the consortium's offline key.

    plan = read_plan(content, pinned_key)
    plan.digest          names it: hospitals approve this digest, and requests and updates are bound to it

Whoever runs the coordinator can start the runs that the operator signed and hospitals approved, and no other.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import AfterValidator, Field, ValidationError, model_validator

from common.config import Settings
from common.consortium.fields import Address, Hash, Name, check_printable
from common.consortium.signed_file import Statement, read_signed, refused, write_signed
from common.errors import ConfigError
from common.learning.plan import TrainingPlan
from common.models.specs import BackboneSpec
from common.releases.manifest import Encoding, ReleaseId
from common.versions import refuse_newer

KIND = "training plan"
MAX_BYTES = 1 << 20

Use = Literal["research", "clinical-care", "methods"]
"""What a run is for: health research, the care of patients, or the development of methods; after HMB, CC and NMDS
of the GA4GH Data Use Ontology."""

Aim = Annotated[str, AfterValidator(check_printable), Field(min_length=3, max_length=300)]


def _in_order(silos: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(silos)) != len(silos):
        raise ValueError("a silo is named twice")
    return tuple(sorted(silos, key=str.encode))


class RunPlan(Settings):
    """One run.

    | key | meaning |
    |---|---|
    | run | its name, used once in a consortium |
    | purpose | under which patients agreed that their photos are used |
    | use, aim | what the run is for: one of ``Use``, and a line in words |
    | silos | who is asked to train; nobody else receives a message |
    | superlink | HOST:PORT where the hospitals' Flower nodes find the coordinator |
    | model | the backbone by architecture and SHA-256, without a path: each machine has its own |
    | parent | id and digest of the release that training begins from; without it, the backbone as it came |
    | training | what every silo does in a round, and the number of rounds |
    | encoding | how the release will turn photos into embeddings |
    | quorum, deadline_s | valid updates below which a round is discarded; seconds that a round waits |
    | max_update_norm, patient_cap | bounds on one silo's update and on its weight |
    | go_on_with_at_least | silos with which the run goes on if others refuse; left out, one refusal stops it |
    | expires | the last day on which a silo trains under this plan |
    """

    version: Literal[1] = 1
    consortium: Name
    run: Name
    purpose: Literal["train"] = "train"
    use: Use | None = None
    aim: Aim | None = None
    silos: Annotated[tuple[Name, ...], Field(min_length=2, max_length=1000), AfterValidator(_in_order)]
    superlink: Address
    model: BackboneSpec
    parent: ReleaseId | None = None
    parent_digest: Hash | None = None
    training: TrainingPlan
    encoding: Encoding = Encoding()
    seed: Annotated[int, Field(ge=0, lt=1 << 53)] = 0
    quorum: Annotated[int, Field(ge=2)] = 2
    deadline_s: Annotated[int, Field(ge=1, le=86_400)] = 600
    max_update_norm: Annotated[float, Field(gt=0)] | None = None
    patient_cap: Annotated[int, Field(ge=1)] | None = None
    go_on_with_at_least: Annotated[int, Field(ge=2)] | None = None
    expires: datetime.date

    @model_validator(mode="after")
    def _whole(self) -> RunPlan:
        if self.model.path is not None:
            raise ValueError("model.path: a plan names the file by sha256 alone")
        if self.model.sha256 is None:
            raise ValueError("model.sha256: missing; hospitals approve one file and no other")
        if (self.parent is None) != (self.parent_digest is None):
            raise ValueError("parent and parent_digest belong together")
        if max(self.quorum, self.go_on_with_at_least or 0) > len(self.silos):
            raise ValueError(f"quorum or go_on_with_at_least is more than the {len(self.silos)} silos named")
        return self

    @cached_property
    def digest(self) -> str:
        """(64 hexadecimal digits) what names this plan everywhere."""
        return self._statement.digest

    @property
    def least(self) -> int:
        """How many silos must take part for the run to begin."""
        return self.go_on_with_at_least or len(self.silos)

    def expired(self, today: datetime.date) -> bool:
        """Whether nobody trains under it any more."""
        return today > self.expires

    @property
    def stated_purpose(self) -> str:
        """What it is for, in words for people."""
        return ": ".join(filter(None, (self.use, self.aim))) or "not stated"

    @property
    def _statement(self) -> Statement:
        body = _spelt(self.model_dump(mode="json", exclude={"model": {"path"}}))
        # Left out where they are not stated, so that plans from before there were such keys keep their digests.
        return Statement(KIND, {k: v for k, v in body.items() if v is not None or k not in ("use", "aim")})


def write_plan(plan: RunPlan, key: Ed25519PrivateKey) -> bytes:
    """The signed file."""
    return write_signed(plan._statement, key)


def read_plan(content: bytes, pinned_key: bytes) -> RunPlan:
    """The plan in a file that the offline key ``pinned_key`` (32 bytes) signed.

    Raises:
        ConfigError: not signed by it, damaged, or written by a newer program.
    """
    statement = read_signed(content, pinned_key, kind=KIND)
    refuse_newer("the plan", content, kind=ConfigError, at=("body", "version"))
    try:
        plan = RunPlan.model_validate(statement.body)
    except ValidationError as error:
        raise refused(KIND) from error
    if plan.digest != statement.digest:
        raise refused(KIND)
    return plan


def _spelt(value: Any) -> Any:
    """``value`` with fractions as text, since a signed file holds none; reading makes numbers of them again."""
    if isinstance(value, Mapping):
        return {key: _spelt(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_spelt(item) for item in value]
    return repr(value) if isinstance(value, float) else value
