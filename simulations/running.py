"""A simulated run from scenario to results: the Python entry point behind ``phenofed simulate``.

    finished = simulations.run(simulations.load_scenario("demo"))
    finished.results["metrics"]["federated"]["F/F"]["top10"]

Every stage leaves its outcome in the run's folder; a run that was interrupted goes on from there.
"""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from common.cohort.splits import Setting
from common.cohort.store import StoredCohort
from common.cohort.store import load as load_cohort
from common.learning.assembly import ModelPool
from common.ranking.patients import Embeddings, Encodings, photo_embeddings
from common.ranking.scores import SCORERS
from simulations import accuracy, encodings, predictions, probes, releases, results
from simulations.encrypted import Encrypted, check_panels, rank_encrypted
from simulations.engines import Engine
from simulations.engines.inline import run_inline
from simulations.evaluation import Evaluation, predict
from simulations.folder import RunFolder
from simulations.memory import reuse_freed_memory
from simulations.modes import Trained, Training
from simulations.predictions import Prediction
from simulations.prepare import matchable, prepare, silo_names
from simulations.progress import Progress, Silent
from simulations.scenario import Scenario


@dataclass(frozen=True)
class Run:
    """A finished run.

    ``results``: results.json. ``predictions``: rows of predictions.csv. ``encodings``: by model name, such as
    'federated' or 'local/silo-1', what each network says of each photo.
    """

    folder: Path
    scenario: Scenario
    results: dict[str, Any] = field(repr=False)
    predictions: list[Prediction] = field(repr=False)
    encodings: dict[str, Encodings] = field(repr=False)

    @cached_property
    def cohort(self) -> StoredCohort:
        """The cohort with its crops and its protocol."""
        return load_cohort(RunFolder(self.folder).cohort)

    def embeddings(self, model: str) -> Embeddings:
        """One unit vector a photo under a model such as 'federated': views averaged, models concatenated."""
        return photo_embeddings(self.encodings[model])

    def ranks(self, model: str, setting: str, scorer: str | None = None) -> NDArray[np.int64]:
        """(n,) rank of the true syndrome for each probe of a setting; the chosen scorer unless one is named."""
        wanted = (model, setting, scorer or str(self.results["scorer"]))
        rows = [row.rank for row in self.predictions if (row.mode, row.setting, row.scorer) == wanted]
        return np.array(rows, dtype=np.int64)


def run(scenario: Scenario, folder: Path, *, overwrite: bool = False, progress: Progress | None = None) -> Run:
    """Run ``scenario`` in ``folder``, a new one unless ``overwrite``.

    Raises:
        PhenofedError: whatever the scenario, its cohort, its weights or the disk do not allow.
    """
    place = RunFolder(folder or Path("runs") / scenario.name)
    place.start(scenario, replace=overwrite)
    return _continue(scenario, place, progress or Silent())


def resume(folder: Path, *, progress: Progress | None = None) -> Run:
    """Go on with the run in ``folder`` where it stopped; a finished one is read and evaluated again."""
    place = RunFolder(folder)
    return _continue(place.read_scenario(), place, progress or Silent())


def _continue(scenario: Scenario, folder: RunFolder, progress: Progress) -> Run:
    reuse_freed_memory()
    if scenario.threads is not None:
        torch.set_num_threads(scenario.threads)
    pool = ModelPool(scenario.device)
    # Device and weights first: what is wrong with them should be told before photographs are aligned for minutes.
    pool.initial(scenario.backbone, scenario.training)
    cohort = prepare(scenario, folder, progress)
    assert cohort.protocol is not None
    check_panels(scenario.encryption, silo_names(cohort.protocol))
    trained = _train(scenario, folder, cohort, pool, progress)
    photos = matchable(cohort, datetime.date.today())
    encoded = encodings.encode_all(scenario, folder, cohort, photos, trained, pool, progress)
    evaluation = Evaluation(cohort.protocol, photos, scenario.ranking.probes)

    started = time.monotonic()
    validation = [
        row
        for model, vectors in encoded.items()
        for row in predict(evaluation, vectors, mode=model, setting=None, with_top=False)
    ]
    scorer = scenario.ranking.scorer or accuracy.choose_scorer(validation, SCORERS)
    ranked = _rank(evaluation, encoded, scorer, progress)
    rank_seconds = time.monotonic() - started
    encrypted = None
    if scenario.encryption.enabled and "federated" in encoded:
        encrypted = rank_encrypted(scenario.encryption, evaluation, encoded["federated"], progress)
    rows = [*validation, *ranked, *(encrypted.predictions if encrypted else ())]
    return _write(scenario, folder, cohort, trained, encoded, scorer, rows, encrypted, rank_seconds)


def _train(
    scenario: Scenario, folder: RunFolder, cohort: StoredCohort, pool: ModelPool, progress: Progress
) -> list[Trained]:
    assert cohort.protocol is not None
    training = Training(scenario, folder, silo_names(cohort.protocol), pool)
    steps: dict[str, Callable[[], list[Trained]]] = {
        "pretrained": training.pretrained,
        "federated": lambda: training.federated(engine(scenario), progress),
        "local": lambda: training.local(progress),
        "centralised": lambda: training.centralised(progress),
    }
    return [model for mode in steps if mode in scenario.modes for model in steps[mode]()]


def engine(scenario: Scenario) -> Engine:
    """The engine that the scenario names; Ray is imported only where it is asked for."""
    if scenario.federation.engine == "inline":
        return run_inline
    from simulations.engines.ray import RayEngine

    settings = scenario.federation
    return RayEngine(settings.clients_at_once, settings.gpus_per_client, settings.ray_address)


def _rank(
    evaluation: Evaluation, encoded: dict[str, Encodings], scorer: str, progress: Progress
) -> list[Prediction]:
    """All settings, models and scorers; whole lists for the chosen scorer, ranks alone for the others."""
    rows: list[Prediction] = []
    others = [name for name in SCORERS if name != scorer]
    with progress.stage("ranking test patients", len(encoded) * len(Setting)) as advance:
        for model, vectors in encoded.items():
            for setting in Setting:
                rows += predict(evaluation, vectors, mode=model, setting=setting, scorers=[scorer])
                rows += predict(evaluation, vectors, mode=model, setting=setting, scorers=others, with_top=False)
                advance(1)
    return rows


def _write(
    scenario: Scenario,
    folder: RunFolder,
    cohort: StoredCohort,
    trained: Sequence[Trained],
    encoded: dict[str, Encodings],
    scorer: str,
    rows: list[Prediction],
    encrypted: Encrypted | None,
    rank_seconds: float,
) -> Run:
    from simulations.report import write_report

    predictions.write(folder.predictions, rows)
    main = "federated" if "federated" in encoded else "pretrained"
    encodings.write_all_encodings(folder.all_encodings, encoded[main])
    releases.write(folder, scenario, trained)
    probes.write(folder, scenario, cohort)
    figures = results.collect(
        scenario,
        cohort,
        trained,
        predictions.read(folder.predictions),
        scorer=scorer,
        encrypted=encrypted,
        rank_seconds=rank_seconds,
    )
    results.write(folder.results, figures)
    write_report(folder)
    return Run(folder.path, scenario, json.loads(folder.results.read_text()), rows, encoded)
