"""A finished run, read again: its protocol and the vectors of one model, without training or encoding anew."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from pathlib import Path

from common.cohort import store
from common.errors import RunError
from common.ranking.patients import Embeddings, Encodings, patient_embeddings
from simulations.encodings import read_kept
from simulations.evaluation import Evaluation
from simulations.folder import RunFolder
from simulations.prepare import matchable
from simulations.scenario import Scenario


@dataclass(frozen=True)
class FinishedRun:
    """What may be matched today of a finished run. ``encodings``: of one model, as the run ranked by them."""

    scenario: Scenario
    evaluation: Evaluation
    encodings: Encodings = field(repr=False)

    @property
    def patients(self) -> Embeddings:
        """One unit vector a patient."""
        return patient_embeddings(self.encodings, self.evaluation.protocol.patient_of)

    @property
    def syndrome_of(self) -> dict[str, str]:
        """Patient to syndrome key."""
        protocol = self.evaluation.protocol
        return {protocol.patient_of[photo]: protocol.label_of[photo] for photo in self.encodings.photo_ids}


def open_run(path: Path, *, model: str = "federated") -> FinishedRun:
    """Read a run.

    Raises:
        RunError: no finished run, or none with that model.
    """
    folder = RunFolder(path)
    folder.read_results()
    scenario, cohort = folder.read_scenario(), store.load(folder.cohort)
    if not folder.encodings(model).is_file() or cohort.protocol is None:
        raise RunError(
            f"the run has no model '{model}'", remedy="choose one of the run's modes, such as pretrained"
        )
    encodings = read_kept(folder, model)
    if scenario.ranking.ensemble and model != "pretrained":
        untouched = read_kept(folder, "pretrained")
        encodings = encodings.with_models_of(untouched, share=scenario.ranking.untouched_share)
    photos = matchable(cohort, datetime.date.today())
    return FinishedRun(scenario, Evaluation(cohort.protocol, photos, scenario.ranking.probes), encodings)
