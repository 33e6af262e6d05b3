"""Who and what is in the story, and what its chapters hand on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from simulations.scenario import Scenario
from simulations.story.desks import Desks
from simulations.story.stage import Stage

FIRST = ("hospital-1", "hospital-2", "hospital-3", "hospital-4")
LATE = "hospital-5"
HOSPITALS = (*FIRST, LATE)
OPERATOR, RELAY, RELEASES = Path("operator"), Path("operator/relay"), Path("releases")
KITS = OPERATOR / "kits"
MOST_ASKED = 40
DEADLINE = 300.0


@dataclass
class Story:
    """What chapters hand on.

    ``asked``: the new patient whom the story follows; ``left``: (hospital, patient) of the withdrawal, which had
    trained with ``trained_before`` patients; ``hits``: patients with the true syndrome first, and among ten.
    """

    stage: Stage
    scenario: Scenario
    desks: Desks
    rounds: int
    asked: str = "new-01"
    epoch: int = 0
    left: tuple[str, str] = ("", "")
    trained_before: int = 0
    hits: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def backbone(self) -> Path:
        """The network's file, which every machine has already."""
        path = self.scenario.backbone.path
        assert path is not None
        return path.resolve()

    def registry_key(self, syndrome: str) -> str:
        """What the registry calls a syndrome of the cohort."""
        found = next(one for one in self.desks.syndromes if one.key == syndrome)
        return found.identifiers[0] if found.identifiers else found.key
