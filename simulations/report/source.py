"""What a report is made of: the files of a finished run, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from common.cohort import store
from common.cohort.schema import Syndrome
from common.cohort.store import StoredCohort
from simulations import predictions
from simulations.folder import RunFolder
from simulations.predictions import Prediction
from simulations.scenario import Scenario

SETTINGS = ("F/F", "R/R", "F/both", "R/both")
LABELS = {
    "pretrained": "Pretrained",
    "local": "Local only",
    "federated": "Federated",
    "centralised": "Centralised",
    "encrypted": "Encrypted",
}


@dataclass(frozen=True)
class Source:
    """``results``: results.json. ``rows``: predictions.csv. ``cohort``: as stored, with crops."""

    scenario: Scenario
    results: Mapping[str, Any] = field(repr=False)
    rows: list[Prediction] = field(repr=False)
    cohort: StoredCohort = field(repr=False)

    @property
    def metrics(self) -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
        """mode -> setting -> figures, in the order in which modes are shown."""
        held = self.results.get("metrics") or {}
        return {mode: held[mode] for mode in (*LABELS, *sorted(set(held) - set(LABELS))) if held.get(mode)}

    @property
    def labels(self) -> dict[str, str]:
        """mode -> its name on the page."""
        return {mode: LABELS.get(mode, mode) for mode in (*self.metrics, "encrypted")}

    @property
    def settings(self) -> list[str]:
        """The settings for which any mode has figures."""
        return [setting for setting in SETTINGS if any(setting in held for held in self.metrics.values())]

    @property
    def main(self) -> str:
        """The mode that the report is about: federated, where it was run."""
        return "federated" if "federated" in self.metrics else next(iter(self.metrics), "pretrained")

    @property
    def synthetic(self) -> bool:
        """Whether the faces were rendered by the run itself."""
        return self.scenario.cohort.kind == "synthetic"

    @cached_property
    def tests(self) -> list[Prediction]:
        """Test probes ranked in clear by the chosen scorer."""
        scorer = self.results.get("scorer")
        return [
            row
            for row in self.rows
            if row.scorer == scorer and row.setting != "validation" and row.mode != "encrypted"
        ]

    @cached_property
    def _syndromes(self) -> dict[str, Syndrome]:
        return {syndrome.key: syndrome for syndrome in self.cohort.cohort.syndromes}

    def syndrome(self, key: str) -> Syndrome:
        """The syndrome of a key; one that the cohort lost goes by its key."""
        return self._syndromes.get(key) or Syndrome(key=key, name=key)

    def figure(self, mode: str, setting: str, key: str) -> object:
        """A figure of results.json, or None."""
        return self.metrics.get(mode, {}).get(setting, {}).get(key)


def read(folder: RunFolder) -> Source:
    """Read a finished run.

    Raises:
        RunError: no finished run, or one whose files are damaged.
        CohortError: its cohort is missing or damaged.
    """
    return Source(
        folder.read_scenario(),
        folder.read_results(),
        predictions.read(folder.predictions),
        store.load(folder.cohort),
    )
