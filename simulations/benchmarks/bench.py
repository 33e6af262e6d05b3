"""What a benchmark works with, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from common.cohort.store import StoredCohort
from common.learning.assembly import ModelPool
from simulations.folder import RunFolder
from simulations.prepare import prepare
from simulations.progress import Silent
from simulations.scenario import Scenario


@dataclass(frozen=True)
class Measured:
    """``figures`` are for machines; ``columns`` and ``rows`` for people, who also read ``notes``."""

    figures: dict[str, float]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bench:
    """A scenario over a folder that is thrown away afterwards.

    ``repeat``: how often each thing is measured. ``say``: tells whoever waits; nothing is shown while the clock
    runs, since drawing costs CPU-seconds too.
    """

    scenario: Scenario
    folder: Path
    repeat: int = 5
    say: Callable[[str], None] = lambda line: None

    @cached_property
    def pool(self) -> ModelPool:
        """The networks, on the scenario's device."""
        return ModelPool(self.scenario.device)

    @property
    def run(self) -> RunFolder:
        """Where the scenario's cohort and silos lie."""
        return RunFolder(self.folder / "run")

    @cached_property
    def cohort(self) -> StoredCohort:
        """The scenario's cohort with its protocol; made at the first call, with every silo's workspace."""
        self.say("preparing the cohort")
        return prepare(self.scenario, self.run, Silent())
