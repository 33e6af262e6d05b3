"""A hospital's policy: what its agent allows, whatever others ask. ``policy.yaml`` of the workspace.

    policy = load_policy(Path("workspace/policy.yaml"))

Paths in the file are relative to it. A comment for every key stands in deploy/policy.yaml, the usual proposal.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from common.config import Settings, load
from common.consortium.fields import split_address
from common.models.specs import BackboneSpec
from common.privacy.disclosure import Profile, by_name

ROWS_A_YEAR = 16


def _proxy_address(text: str) -> str:
    address = text.removeprefix("http://").removesuffix("/")
    split_address(address)
    return address


class RelayAccess(Settings):
    """How the relay is reached. ``proxy``: HOST:PORT of an HTTP proxy that allows CONNECT, or None."""

    proxy: Annotated[str, AfterValidator(_proxy_address)] | None = None


class Allowed(Settings):
    """Which purposes the hospital serves; each is opted out of on its own."""

    rank: bool = True
    discover: bool = False
    train: bool = False


class Approvals(Settings):
    """Who approves a run's plan: the hospital's own people, or this policy as soon as the plan is taken in."""

    train: Literal["by-hand", "automatic"] = "by-hand"


class Training(Settings):
    """How the Flower node runs. ``node``: started by the agent, or as a service of its own.

    ``socket``: where the agent listens for the node, if not in the workspace; ``group``: the OS group that may
    open it, where the node runs as another user.
    """

    node: Literal["with-agent", "on-its-own"] = "with-agent"
    socket: Path | None = None
    group: str | None = None


class Budget(Settings):
    """``queries_a_year``: of one querier for one syndrome; None for the profile's own."""

    queries_a_year: Annotated[int, Field(ge=0)] | None = None


class Model(Settings):
    """``release``: the folder of a release; ``backbone``: the network that it was trained from.

    ``allow_unsigned``: load a model that nobody vouches for, such as that of a simulation.
    """

    release: Path
    backbone: BackboneSpec
    allow_unsigned: bool = False


class DetectorChoice(Settings):
    """A face detector, by file and hash."""

    path: Path
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Discovery(Settings):
    """``threshold``: least similarity of a possible pair; ``rows_a_year``: patients shown to one partner."""

    threshold: Annotated[float, Field(ge=0.3, le=1)] = 0.6
    rows_a_year: Annotated[int, Field(ge=0, le=ROWS_A_YEAR)] = ROWS_A_YEAR


class Keep(Settings):
    """``queries``: whether crops and answers of a new patient may be kept at all; ``days``: for how long."""

    queries: bool = False
    days: Annotated[int, Field(ge=1, le=3650)] = 30


class SiloPolicy(Settings):
    """The whole file.

    ``members``: whether members of newer rosters wait for silo members accept; ``metrics_port``: on loopback, None
    for no metrics.
    """

    relay: RelayAccess = RelayAccess()
    allow: Allowed = Allowed()
    approvals: Approvals = Approvals()
    training: Training = Training()
    profile: Literal["strict", "standard", "open"] = "standard"
    budget: Budget = Budget()
    model: Model | None = None
    detector: DetectorChoice | None = None
    discovery: Discovery = Discovery()
    keep: Keep = Keep()
    members: Literal["by-hand", "automatic"] = "by-hand"
    metrics_port: Annotated[int, Field(ge=1, le=65535)] | None = None

    @model_validator(mode="after")
    def _only_stricter(self) -> SiloPolicy:
        limit, own = by_name(self.profile).queries_a_year, self.budget.queries_a_year
        if limit is not None and own is not None and own > limit:
            raise ValueError(f"budget.queries_a_year: {own} is more than the {limit} of profile {self.profile}")
        return self

    @property
    def floor(self) -> Profile:
        """The least strict profile that the agent answers under."""
        return by_name(self.profile)

    @property
    def queries_a_year(self) -> int | None:
        """The budget that holds: the hospital's own, or the profile's."""
        own = self.budget.queries_a_year
        return self.floor.queries_a_year if own is None else own

    def relative_to(self, folder: Path) -> SiloPolicy:
        """This policy with its paths taken from ``folder``."""
        model, detector = self.model, self.detector
        if model is not None:
            path = model.backbone.path and folder / model.backbone.path
            backbone = model.backbone.model_copy(update={"path": path})
            model = model.model_copy(update={"release": folder / model.release, "backbone": backbone})
        if detector is not None:
            detector = detector.model_copy(update={"path": folder / detector.path})
        place = self.training.socket and folder / self.training.socket
        training = self.training.model_copy(update={"socket": place})
        return self.model_copy(update={"model": model, "detector": detector, "training": training})


def load_policy(path: Path) -> SiloPolicy:
    """The policy in a file, with absolute paths where ``path`` is absolute.

    Raises:
        ConfigError: the file cannot be read or does not fit; every problem in one message.
    """
    return load(path, SiloPolicy).relative_to(path.parent)
