"""A hospital's policy: what its agent allows, whatever others ask. ``policy.yaml`` of the workspace.

    policy = load_policy(Path("workspace/policy.yaml"))

Paths in the file are relative to it. docs/policy.md tells of every key; deploy/policy.yaml is the usual proposal.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from client.workspace.hours import Hours
from client.workspace.model_policy import DetectorChoice, Model, Models
from client.workspace.training_policy import Training
from common.config import Settings, read_yaml
from common.config_problems import parse_partly
from common.consortium.fields import split_address
from common.errors import ConfigError, DisclosureError
from common.privacy.disclosure import Profile, by_name

ROWS_A_YEAR = 16


class InvalidPolicy(ConfigError):
    """A policy that does not fit; it is in force for nobody, and nothing is allowed under it."""


class NotInForce(DisclosureError):
    """What others are told while a policy is invalid: not what is wrong in it, nor where it lies."""

    def __init__(self, silo: str, remedy: str = "its IT mends policy.yaml") -> None:
        super().__init__(f"the policy of {silo} cannot be used at the moment", remedy=remedy)


def _proxy_address(text: str) -> str:
    address = text.removeprefix("http://").removesuffix("/")
    split_address(address)
    return address


class RelayAccess(Settings):
    """How the relay is reached. ``proxy``: HOST:PORT of an HTTP proxy that allows CONNECT, or None.

    ``follow``: whether the agent takes newer rosters and registries from the relay; else by kits alone.
    """

    proxy: Annotated[str, AfterValidator(_proxy_address)] | None = None
    follow: bool = True


class Allowed(Settings):
    """Which purposes the hospital serves; each is opted out of on its own."""

    rank: bool = True
    discover: bool = False
    train: bool = False


class Approvals(Settings):
    """Who approves a run's plan: the hospital's own people, or this policy as soon as the plan is taken in."""

    train: Literal["by-hand", "automatic"] = "by-hand"


class Clinic(Settings):
    """A socket for people who rank and have no other right on the workspace, and their OS group; both or none."""

    socket: Path | None = None
    group: str | None = None


class Budget(Settings):
    """``queries_a_year``: of one querier for one syndrome; None for the profile's own."""

    queries_a_year: Annotated[int, Field(ge=0)] | None = None


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
    hours: Hours = Hours()
    training: Training = Training()
    profile: Literal["strict", "standard", "open"] = "standard"
    budget: Budget = Budget()
    model: Model | None = None
    models: Models = Models()
    detector: DetectorChoice | None = None
    discovery: Discovery = Discovery()
    keep: Keep = Keep()
    clinic: Clinic = Clinic()
    members: Literal["by-hand", "automatic"] = "by-hand"
    metrics_port: Annotated[int, Field(ge=1, le=65535)] | None = None

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
        place, door = self.training.socket, self.clinic.socket
        training = self.training.model_copy(update={"socket": place and folder / place})
        clinic = self.clinic.model_copy(update={"socket": door and folder / door})
        return self.model_copy(
            update={"model": model, "detector": detector, "training": training, "clinic": clinic}
        )


def load_policy(path: Path) -> SiloPolicy:
    """The policy in a file, with absolute paths where ``path`` is absolute.

    Raises:
        InvalidPolicy: the file cannot be read or does not fit; every problem in one message.
    """
    try:
        data = read_yaml(path)
    except ConfigError as error:
        raise InvalidPolicy(error.what, remedy=error.remedy) from error
    policy, problems, dropped = parse_partly(data, SiloPolicy)
    problems += _at_odds(policy, dropped)
    if problems:
        raise InvalidPolicy(f"{path}: {'; '.join(problems)}", remedy="mend the named keys; see docs/policy.md")
    return policy.relative_to(path.parent)


def _at_odds(policy: SiloPolicy, dropped: frozenset[str]) -> list[str]:
    """Keys that do not go together; what was dropped for another problem is not judged."""

    def known(*keys: str) -> bool:
        return not any(
            f"{key}.".startswith(f"{lost}.") or lost.startswith(f"{key}.") for key in keys for lost in dropped
        )

    limit, own = policy.floor.queries_a_year, policy.budget.queries_a_year
    found = []
    if known("profile", "budget") and limit is not None and own is not None and own > limit:
        found.append(f"'budget.queries_a_year': {own} is more than the {limit} of profile {policy.profile}")
    if known("hours.zone") and policy.hours.limited and policy.hours.zone is None:
        found.append("'hours.zone': is missing, write the hospital's time zone, such as Europe/Berlin")
    if known("clinic.socket", "clinic.group") and (policy.clinic.socket is None) != (policy.clinic.group is None):
        found.append("'clinic': socket and group belong together")
    named = policy.model.backbone.sha256 if policy.model else None
    listed = policy.models.sha256
    if known("model", "models") and policy.model and listed is not None and named not in listed:
        found.append("'models.sha256': does not name model.backbone.sha256, the model of this very policy")
    return found
