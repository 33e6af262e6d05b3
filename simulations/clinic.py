"""Rank one new patient against the gallery of a finished run, in clear: what a clinic would see of the model.

Photos are read, never written or copied. The gallery is the run's own: training and validation patients and those
of the first rare split, so that the run's test patients can be tried.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from client.clinic.ranking_list import DECIMALS, Listed, RankingList, best
from client.gallery.encoder import PhotoEncoder
from common.cohort import store
from common.cohort.store import StoredCohort
from common.errors import PhotoError, RunError
from common.faces.decode import read_bytes
from common.faces.detect import Detector
from common.ranking.scores import SCORERS, Gallery
from common.releases.encoder import ReleasedEncoder
from simulations import releases
from simulations.encodings import read_kept
from simulations.evaluation import Case, Evaluation
from simulations.folder import RunFolder
from simulations.prepare import matchable
from simulations.scenario import Scenario


def rank_photos(
    photos: Sequence[Path],
    run: Path,
    *,
    patient: str = "new patient",
    top: int = 10,
    detector: Path | None = None,
    detector_sha256: str | None = None,
    aligned: bool = False,
) -> RankingList:
    """The best ``top`` syndromes for the patient whom all ``photos`` show.

    Raises:
        PhotoError: a photo that cannot be used; nothing is ranked then.
        RunError: no finished run, or one without a federated model.
    """
    folder = RunFolder(run)
    results = folder.read_results()
    scenario, cohort = folder.read_scenario(), store.load(folder.cohort)
    release = releases.read(folder)
    encoder = PhotoEncoder(ReleasedEncoder(release, scenario.backbone.path), _detector(detector, detector_sha256))
    names = [str(path) for path in photos]
    contents = [read_bytes(path, name=name) for path, name in zip(photos, names, strict=True)]
    portrait = encoder.portrait(contents, names=names, aligned=aligned)
    held, scorer = _gallery(folder, scenario, cohort), str(results["scorer"])
    scores = SCORERS[scorer](portrait.embedding[None], held)[0]
    known = int(np.sum(~np.isnan(scores)))
    rows = []
    for rank, index in enumerate(best(scores, top), 1):
        syndrome = cohort.cohort.syndrome(held.syndromes[index])
        similarity = round(float(scores[index]), DECIMALS)
        rows.append(Listed(rank, similarity, syndrome.key, syndrome.name, syndrome.identifiers))
    return RankingList(
        patient=patient,
        release=release.name,
        gallery_epoch=f"of run {scenario.name}",
        kernel=scorer,
        profile="simulation, in clear",
        silos=held.silos,
        missing=(),
        silent={},
        quality=portrait.remarks,
        answerable=known,
        withheld=len(scores) - known,
        rows=tuple(rows),
    )


def _detector(path: Path | None, sha256: str | None) -> Detector | None:
    if path is None:
        return None
    if sha256 is None:
        raise PhotoError("the detector's hash is missing", remedy="add --detector-sha256")
    return Detector(path, sha256)


def _gallery(folder: RunFolder, scenario: Scenario, cohort: StoredCohort) -> Gallery:
    protocol = cohort.protocol
    if protocol is None:
        raise RunError(f"{folder.cohort} has no protocol", remedy="repeat the run")
    photos = matchable(cohort, datetime.date.today())
    evaluation = Evaluation(protocol, photos, scenario.ranking.probes)
    rare = evaluation.protocol.rare[0].gallery if evaluation.protocol.rare else ()
    encodings = read_kept(folder, "federated")
    if scenario.ranking.ensemble:
        encodings = encodings.with_models_of(
            read_kept(folder, "pretrained"), share=scenario.ranking.untouched_share
        )
    return evaluation.gallery(encodings, Case(0, (), (*evaluation.protocol.frequent_gallery, *rare)))
