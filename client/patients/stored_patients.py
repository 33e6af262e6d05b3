"""Changing the workspace's stored patients: by one process at a time, and without traces of who left."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager

from client.discovery.ground import ENCODINGS, FOLDER
from client.gallery.alone import alone
from client.gallery.cache import GalleryCache
from client.patients.participation import Participation
from client.workspace.workspace import Workspace
from common.cohort import store
from common.cohort.reading import Refused
from common.cohort.schema import Cohort, Patient, Purpose
from common.cohort.store import StoredCohort
from common.errors import CohortError
from common.faces.decode import Pixels
from common.storage import sha256_bytes

CACHE = "encodings.safetensors"


@contextmanager
def changing(workspace: Workspace) -> Iterator[None]:
    """Nobody else changes the patients meanwhile; crops that a killed process left lying are removed."""
    with alone(workspace.folder / "cohort.lock"):
        for left in workspace.folder.glob(f".{workspace.cohort_folder.name}.*"):
            if left.is_dir():
                shutil.rmtree(left)
        yield


def held(workspace: Workspace) -> StoredCohort | None:
    """The patients as stored; None before the first import."""
    if store.written(workspace.cohort_folder) == (0, 0):
        return None
    return store.load(workspace.cohort_folder)


def required(workspace: Workspace) -> StoredCohort:
    """The patients as stored.

    Raises:
        CohortError: nobody was imported yet.
    """
    found = held(workspace)
    if found is None:
        raise CohortError("no patients were imported yet", remedy="run phenofed silo import")
    return found


def write(workspace: Workspace, cohort: Cohort, crops: Mapping[str, Pixels], refused: Iterable[Refused]) -> None:
    """Store these patients in place of those before; the last one takes the store along."""
    if not cohort.patients:
        if workspace.cohort_folder.exists():
            shutil.rmtree(workspace.cohort_folder)
        return
    store.save(workspace.cohort_folder, cohort, crops, refused=refused, replace=True)


def forget(workspace: Workspace, patient: Patient, purposes: Collection[Purpose] = frozenset(Purpose)) -> None:
    """Remove what was made of a patient's photos for these purposes: embeddings, and training states.

    Served galleries are the agent's, which closes their rows. Weights that were learnt stay.
    """
    photos = {photo.id for photo in patient.photos}
    if Purpose.MATCH in purposes:
        GalleryCache(workspace.gallery_folder / CACHE).forget(photos)
    if Purpose.DISCOVER in purposes:
        (workspace.folder / FOLDER / ENCODINGS).unlink(missing_ok=True)
    if Purpose.TRAIN in purposes:
        # Class rows of few patients, and anchors, are as good as their embeddings.
        for part in Participation(workspace.folder).of(patient.id):
            shutil.rmtree(workspace.folder / "training" / part.run, ignore_errors=True)
    if set(Purpose) <= set(purposes):
        kept = workspace.folder / "kept" / sha256_bytes(patient.id.encode())[:16]  # see client.clinic.kept
        shutil.rmtree(kept, ignore_errors=True)
