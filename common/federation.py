"""What both sides of a run are told, and who tells them.

A deployed silo and a simulated one differ only in where they come from. A ``Provider`` says so: Flower's apps ask
the one named in the run's settings, found by entry point (group ``phenofed.providers``), so that neither app knows
of workspaces or scenarios.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from common.consortium.identity import Card
from common.errors import ConfigError
from common.records import Parameters, Question, Refusal, SiloDescription, TrainRequest, Update
from common.versions import OWN, Hello

GROUP = "phenofed.providers"


@dataclass(frozen=True)
class Coordination:
    """A run as the coordinator knows it.

    Args:
        silos: names of the silos that take part; nobody else receives a message.
        deadline_s: seconds that a round waits for replies.
        quorum: valid updates below which a round is discarded; never below two.
        max_update_norm: the gate's bound on an update's Euclidean norm; None for none.
        patient_cap: largest weight of one silo; None for none.
        folder: where the checkpoint is kept.
        least: silos that must answer before the run begins.
        digest: of the signed plan; empty in simulations.
        cards: the silos' cards, by which descriptions and updates are verified; empty in simulations.
        members: the cards that the roster lists now, by name, asked before each round; None in simulations. Whose
            card is not among them any more takes no further part.
        hello: what the coordinator says of itself.
        fetched_apart: each reply is fetched by a thread of its own, so that one which never comes whole holds up
            nobody; not in simulations, where fetching a reply is to train.
    """

    run: str
    seed: int
    rounds: int
    silos: tuple[str, ...]
    model: Mapping[str, Any]
    plan: Mapping[str, Any]
    initial: Parameters = field(repr=False)
    folder: Path
    deadline_s: float = 600.0
    quorum: int = 2
    max_update_norm: float | None = None
    patient_cap: int | None = None
    least: int = 2
    digest: str = ""
    cards: Mapping[str, Card] = field(default_factory=dict, repr=False)
    members: Callable[[], Mapping[str, Card]] | None = field(default=None, repr=False)
    hello: Hello = OWN
    fetched_apart: bool = False


class SiloOperations(Protocol):
    """What a silo lets a coordinator ask for. Nothing else exists."""

    def describe(self, question: Question) -> SiloDescription | Refusal: ...

    def train(self, request: TrainRequest) -> Update | Refusal: ...


class Provider(Protocol):
    """Where silos and runs come from."""

    def silo(self, run_config: Mapping[str, Any], node_config: Mapping[str, Any]) -> SiloOperations:
        """The silo that this node serves."""

    def coordination(self, run_config: Mapping[str, Any]) -> Coordination:
        """The run that this coordinator leads."""


def provider(name: str) -> Provider:
    """The provider registered under ``name``.

    Raises:
        ConfigError: nothing of that name is installed.
    """
    found = importlib.metadata.entry_points(group=GROUP, name=name)
    if not found:
        known = sorted(point.name for point in importlib.metadata.entry_points(group=GROUP))
        raise ConfigError(f"no provider '{name}' is installed", remedy=f"choose one of {known}")
    loaded: Provider = next(iter(found)).load()
    return loaded
