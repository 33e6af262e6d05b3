"""Rank one new patient against the gallery of a finished run, in clear: what a clinic would see of the model.

Photos are read, never written or copied. The gallery is the run's own: training and validation patients and those
of the first rare split, so that the run's test patients can be tried. A few photos need no GPU: wherever the run
trained, networks run on the processor.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from common.cohort import store
from common.cohort.schema import Photo
from common.cohort.store import StoredCohort
from common.errors import PhotoError, RunError
from common.faces.decode import Pixels, read_bytes
from common.faces.detect import Detector
from common.faces.photos import crop_photo
from common.learning.assembly import ModelPool, write_shared
from common.models.encoding import encode
from common.ranking.patients import Encodings, patient_embeddings
from common.ranking.scores import SCORERS, Gallery
from common.storage import sha256_bytes
from simulations import releases
from simulations.encodings import CHOSEN_VIEWS, read_kept
from simulations.evaluation import Case, Evaluation
from simulations.folder import RunFolder
from simulations.prepare import matchable
from simulations.scenario import Scenario

CAUTIONS = (
    "Research use only; not a medical device.",
    "Any face yields a list, an unaffected one too; the true disorder may be absent from it.",
    "Similarities are not calibrated and are no probabilities.",
)


def rank_photos(
    photos: Sequence[Path],
    run: Path,
    *,
    top: int = 10,
    detector: Path | None = None,
    detector_sha256: str | None = None,
    aligned: bool = False,
) -> dict[str, Any]:
    """The best ``top`` syndromes for the patient whom all ``photos`` show, as JSON types.

    Raises:
        PhotoError: a photo that cannot be used; nothing is ranked then.
        RunError: no finished run, or one without a federated model.
    """
    folder = RunFolder(run)
    results = folder.read_results()
    scenario, cohort = folder.read_scenario(), store.load(folder.cohort)
    finder = _detector(detector, detector_sha256)
    cropped = [_crop(path, finder, aligned) for path in photos]
    probe = _encode(folder, scenario, np.stack([crop for crop, _ in cropped]))
    held, scorer = _gallery(folder, scenario, cohort), str(results["scorer"])
    query = patient_embeddings(probe, dict.fromkeys(probe.photo_ids, "patient")).matrix
    scores = SCORERS[scorer](query, held)[0]
    order = np.argsort(-np.nan_to_num(scores, nan=-np.inf), kind="stable")[:top]
    return {
        "cautions": list(CAUTIONS),
        "run": scenario.name,
        "scorer": scorer,
        "photos": [{"warnings": list(warnings)} for _, warnings in cropped],
        "gallery": {"patients": len(held.patients), "syndromes": len(held.syndromes), "silos": len(held.silos)},
        "syndromes": [
            {
                "rank": place,
                "similarity": round(float(scores[index]), 4),
                "name": cohort.cohort.syndrome(held.syndromes[index]).name,
                "identifiers": list(cohort.cohort.syndrome(held.syndromes[index]).identifiers),
            }
            for place, index in enumerate(order, 1)
        ],
    }


def ranking_table(answer: dict[str, Any]) -> Table:
    """The answer as a table, its cautions first."""
    held = answer["gallery"]
    warnings = sorted({warning for photo in answer["photos"] for warning in photo["warnings"]})
    head = [*answer["cautions"], f"Photo quality: {'; '.join(warnings) or 'no remarks'}."]
    table = Table(
        title="\n".join(head),
        title_justify="left",
        title_style="not italic",
        caption=f"run '{answer['run']}', scorer '{answer['scorer']}', gallery of {held['patients']} patients "
        f"with {held['syndromes']} syndromes from {held['silos']} silos",
        caption_justify="left",
    )
    table.add_column("rank", justify="right")
    table.add_column("similarity", justify="right")
    table.add_column("syndrome")
    table.add_column("identifiers")
    for row in answer["syndromes"]:
        table.add_row(str(row["rank"]), f"{row['similarity']:.4f}", row["name"], ", ".join(row["identifiers"]))
    return table


def _crop(path: Path, detector: Detector | None, aligned: bool) -> tuple[Pixels, tuple[str, ...]]:
    content = read_bytes(path, name=str(path))
    if not aligned and detector is None:
        raise PhotoError(
            f"nothing says where the face is in {path}",
            remedy="give --detector and --detector-sha256, or --aligned for an aligned 112x112 crop",
        )
    photo = Photo(id=path.name[:128], path=path, sha256=sha256_bytes(content), aligned=aligned)
    crop, verdict = crop_photo(photo, detector)
    if not verdict.usable:
        raise PhotoError(f"{path} cannot be used ({'; '.join(verdict.reasons)})", remedy="take another photo")
    return crop, verdict.warnings


def _detector(path: Path | None, sha256: str | None) -> Detector | None:
    if path is None:
        return None
    if sha256 is None:
        raise PhotoError("the detector's hash is missing", remedy="add --detector-sha256")
    return Detector(path, sha256)


def _encode(folder: RunFolder, scenario: Scenario, crops: Pixels) -> Encodings:
    """The new photos through the run's federated model, beside the untouched one where the run ranked so."""
    pool, ids = ModelPool(), [f"photo-{number}" for number in range(1, len(crops) + 1)]
    model, views = pool.model(scenario.backbone, scenario.training), CHOSEN_VIEWS[scenario.ranking.views]
    write_shared(model, releases.read(folder))
    trained = encode(model, ids, crops, views=views)
    if not scenario.ranking.ensemble:
        return trained
    write_shared(model, pool.initial(scenario.backbone, scenario.training))
    untouched = encode(model, ids, crops, views=views)
    return trained.with_models_of(untouched, share=scenario.ranking.untouched_share)


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
