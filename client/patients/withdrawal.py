"""A patient who withdraws: from one purpose, or altogether with every crop and embedding.

First the decision is written down, so that no later import undoes it; then the data go; then the agent closes the
rows. An agent that does not run looks at consents before it serves again.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from client.gallery.keeper import GalleryKeeper
from client.local.address import serves
from client.patients.consents import SiteConsents
from client.patients.participation import Part, Participation
from client.patients.stored_patients import changing, forget, held, write
from client.workspace.workspace import Workspace
from common.cohort.schema import Cohort, Consent, Patient, Purpose
from common.errors import CohortError


@dataclass(frozen=True)
class Withdrawal:
    """``photos``: how many were removed; ``parts``: the runs, and releases, trained with the patient's data."""

    photos: int
    parts: tuple[Part, ...]


def withdraw(workspace: Workspace, patient: str, purpose: Purpose | None, today: datetime.date) -> Withdrawal:
    """Take back a patient's agreement to ``purpose``; None takes back all of it, and the crops leave the store.

    Raises:
        CohortError: no such patient is stored, and none withdrew.
    """
    with changing(workspace):
        consents = SiteConsents(workspace.folder)
        found = _find(workspace, patient)
        if found is None and consents.decided(patient) is None:
            raise CohortError(f"no patient '{patient}' is stored", remedy="name the patient as the import did")
        consents.withdraw(patient, purpose, today)
        parts = Participation(workspace.folder).of(patient) if purpose in (None, Purpose.TRAIN) else ()
        if found is None:
            return Withdrawal(0, parts)
        consent = consents.limit(patient, found.consent)
        gone = not consent.purposes
        _store(workspace, found, None if gone else consent)
        forget(workspace, found, tuple(Purpose) if gone or purpose is None else (purpose,))
        return Withdrawal(len(found.photos) if gone else 0, parts)


def settle(workspace: Workspace, patient: str, consent: Consent, today: datetime.date) -> bool:
    """Decide on site what a patient agrees to; whether the patient is stored, or has yet to be imported again.

    An import can take away from it, and never give more.

    Raises:
        CohortError: no such patient is stored, and nothing was decided before.
    """
    with changing(workspace):
        consents = SiteConsents(workspace.folder)
        found = _find(workspace, patient)
        if found is None and consents.decided(patient) is None:
            raise CohortError(f"no patient '{patient}' is stored", remedy="name the patient as the import did")
        consents.decide(patient, consent, today)
        if found is None:
            return False
        lost = found.consent.purposes - consent.purposes
        _store(workspace, found, consent if consent.purposes else None)
        forget(workspace, found, tuple(lost) if consent.purposes else tuple(Purpose))
        return bool(consent.purposes)


def close_rows(workspace: Workspace, patient: str | None = None) -> bool:
    """Have the running agent look at consents, so that it closes rows at once; whether one runs.

    Where none runs, the patient's embedding goes from the served galleries here.

    Raises:
        PhenofedError: the agent cannot.
    """
    from client.local.door import call

    if serves(workspace.socket_path):
        call(workspace.socket_path, "look", {})
        return True
    if patient is not None and any(workspace.gallery_folder.glob("gallery*")):
        GalleryKeeper(workspace.gallery_folder).withdraw(patient)
    return False


def _find(workspace: Workspace, patient: str) -> Patient | None:
    stored = held(workspace)
    return next((p for p in stored.cohort.patients if p.id == patient), None) if stored else None


def _store(workspace: Workspace, patient: Patient, consent: Consent | None) -> None:
    """The same patients with this one's consent, or without this one."""
    stored = held(workspace)
    if stored is None:
        return
    changed = () if consent is None else (patient.model_copy(update={"consent": consent}),)
    people = [each for p in stored.cohort.patients for each in (changed if p.id == patient.id else (p,))]
    labels = {p.syndrome for p in people}
    syndromes = tuple(syndrome for syndrome in stored.cohort.syndromes if syndrome.key in labels)
    cohort = Cohort(name=stored.cohort.name, patients=tuple(people), syndromes=syndromes)
    crops = {photo.id: stored.crop(photo.id) for _, photo in cohort.photos()}
    write(workspace, cohort, crops, stored.refused)
