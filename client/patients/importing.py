"""Patients of a source into the workspace: the new come in, the corrected follow, nobody else is touched."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass, field

from client.patients.consents import SiteConsents
from client.patients.stored_patients import changing, forget, held, write
from client.workspace.workspace import Workspace
from common.cohort.importing import DetectorFile, Imported, import_photos
from common.cohort.merging import Changes, Merged, merge, to_crop
from common.cohort.reading import ReadResult, Refused
from common.cohort.schema import Patient, Purpose
from common.cohort.store import StoredCohort
from common.errors import CohortError
from common.faces.decode import Pixels
from common.faces.duplicates import NearDuplicate, near_duplicates

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Brought:
    """What became of a source. ``patients``, ``photos``: stored from now on; ``warnings``: on new photos."""

    changes: Changes
    patients: int
    photos: int
    refused: list[Refused]
    warnings: list[str] = field(default_factory=list)
    duplicates: list[NearDuplicate] = field(default_factory=list)


def bring_in(
    workspace: Workspace,
    read: ReadResult,
    *,
    today: datetime.date,
    detector: DetectorFile | None = None,
    processes: int = 1,
    only: Purpose | None = None,
    replace: bool = False,
    strict: bool = False,
    progress: Progress | None = None,
) -> Brought:
    """Take the patients of a source into the stored ones, whole or not at all.

    Photos are decoded before anybody is kept from changing the patients; what changed meanwhile still holds.

    Args:
        only: new patients must permit this purpose.
        replace: patients whom the source does not name leave.
        strict: nothing is stored where a row is refused.

    Raises:
        CohortError: nobody could be stored, or something was refused and ``strict``.
    """
    before = None if replace else held(workspace)
    imported = import_photos(
        to_crop(before.cohort if before else None, read.cohort),
        detector=detector,
        processes=processes,
        progress=progress,
    )
    with changing(workspace):
        stored = held(workspace)
        consents = SiteConsents(workspace.folder)
        merged = merge(
            stored.cohort if stored and not replace else None,
            read,
            imported.crops.keys(),
            on=today,
            on_site=consents.limit,
            only=only,
        )
        refused = [*read.refused, *imported.refused, *merged.changes.refused]
        if strict and refused:
            raise CohortError(f"{len(refused)} rows are refused", remedy="mend them, or leave out --strict")
        _check_anybody(merged, stored, refused)
        crops = _crops(merged, stored, imported)
        if merged.changed or replace:
            write(workspace, merged.cohort, crops, refused)
            for patient in _leaving(merged, stored):
                forget(workspace, patient)
    new = imported.crops.keys() & crops.keys()
    owner = {photo.id: patient.id for patient, photo in merged.cohort.photos()}
    pairs = near_duplicates(list(crops.values()), list(crops), [owner[photo] for photo in crops]) if new else []
    return Brought(
        merged.changes,
        len(merged.cohort.patients),
        len(crops),
        refused,
        [warning for photo in new for warning in imported.verdicts[photo].warnings],
        [pair for pair in pairs if {pair.photo, pair.other} & new],
    )


def _crops(merged: Merged, stored: StoredCohort | None, imported: Imported) -> dict[str, Pixels]:
    """The crop of every photo to store, in order."""
    return {
        photo.id: stored.crop(photo.id) if stored and photo.id in merged.held_crops else imported.crops[photo.id]
        for _, photo in merged.cohort.photos()
    }


def _check_anybody(merged: Merged, stored: StoredCohort | None, refused: list[Refused]) -> None:
    if not merged.cohort.patients and stored is None:
        first = f"; first: {refused[0]}" if refused else ""
        raise CohortError(f"no patient can be stored{first}", remedy="see the refused rows for what to mend")


def _leaving(merged: Merged, stored: StoredCohort | None) -> list[Patient]:
    staying = {patient.id for patient in merged.cohort.patients}
    return [p for p in stored.cohort.patients if p.id not in staying] if stored else []
