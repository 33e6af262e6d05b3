"""How well a trial's adopted model ranks the patients whom no gallery holds: the linear formula, in clear.

It is what encryption computes between the hospitals, but for noise, without floors, and with nobody's budget
spent. A real consortium cannot compute it: nobody has all galleries.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from client.workspace.adoption import adopted_release
from client.workspace.workspace import Workspace
from common.cohort import store
from common.cohort.schema import Cohort, Purpose
from common.cohort.store import StoredCohort
from common.errors import RunError
from common.ranking.metrics import macro_top, ranks
from common.ranking.patients import Embeddings, patient_embeddings
from common.ranking.scores import encryptable, gallery
from common.releases.encoder import ReleasedEncoder
from simulations.poc.folder import TrialFolder


@dataclass(frozen=True)
class Quality:
    """Macro ``top1`` and ``top5`` of so many ``patients`` of so many ``syndromes`` under a release."""

    release: str
    top1: float
    top5: float
    patients: int
    syndromes: int


def quality(folder: TrialFolder, silos: Sequence[str], today: datetime.date | None = None) -> Quality:
    """Rank the held-out patients, a patient a query, over all silos' galleries.

    Raises:
        RunError: nobody is held out whose syndrome a gallery holds.
    """
    spaces = [Workspace(folder.workspace(silo)) for silo in silos]
    model = spaces[0].policy().model
    if model is None:
        raise RunError(f"{spaces[0].folder / 'policy.yaml'} names no model", remedy="restore it")
    encoder = ReleasedEncoder(adopted_release(spaces[0], model), model.backbone.path)
    parts: list[Embeddings] = []
    labels: dict[str, str] = {}
    homes: dict[str, str] = {}
    for space in spaces:
        stored = store.load(space.cohort_folder)
        matched = stored.cohort.for_purpose(Purpose.MATCH, today or datetime.date.today())
        solved = matched.subset(patient.id for patient in matched.patients if patient.syndrome is not None)
        parts.append(_embedded(encoder, stored, solved))
        labels |= {patient.id: str(patient.syndrome) for patient in solved.patients}
        homes |= dict.fromkeys((patient.id for patient in solved.patients), space.name)
    known = _joined(parts)
    held = gallery(known, known, label_of_photo=labels, label_of_patient=labels, silo_of_patient=homes)
    unseen = store.load(folder.held_out)
    column = {syndrome: index for index, syndrome in enumerate(held.syndromes)}
    asked = unseen.cohort.subset(p.id for p in unseen.cohort.patients if p.syndrome in column)
    if not asked.patients:
        raise RunError("no syndrome of a held-out patient is in a gallery", remedy="take more patients")
    queries = _embedded(encoder, unseen, asked)
    truth = [str(patient.syndrome) for patient in asked.patients]
    rows = queries.rows([patient.id for patient in asked.patients])
    places = ranks(encryptable(rows, held), np.array([column[label] for label in truth], dtype=np.int64))
    return Quality(
        encoder.release.name, macro_top(places, truth, 1), macro_top(places, truth, 5), len(truth), len(set(truth))
    )


def _embedded(encoder: ReleasedEncoder, stored: StoredCohort, patients: Cohort) -> Embeddings:
    owner = {photo.id: patient.id for patient, photo in patients.photos()}
    return patient_embeddings(
        encoder.encode(list(owner), np.stack([stored.crop(photo) for photo in owner])), owner
    )


def _joined(parts: Sequence[Embeddings]) -> Embeddings:
    ids = tuple(patient for part in parts for patient in part.ids)
    return Embeddings(ids, np.concatenate([part.matrix for part in parts]))
