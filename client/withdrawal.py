"""A patient who withdraws: from one purpose, or altogether with every crop.

The record is written whole or not at all. Galleries close when the agent looks at consents, which it is asked to
do at once; an agent that does not run looks before it serves again.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from common.cohort import store
from common.cohort.schema import Patient, Purpose
from common.errors import CohortError


def withdraw(folder: Path, patient: str, purpose: Purpose | None) -> None:
    """Take back a patient's agreement to ``purpose`` in the cohort stored in ``folder``.

    None takes back all of it: the patient and the crops leave the store.

    Raises:
        CohortError: no cohort is stored, or it has no such patient.
    """
    held = store.load(folder)
    if all(found.id != patient for found in held.cohort.patients):
        raise CohortError(f"no patient '{patient}' is stored", remedy="name the patient as the import did")
    if purpose is None:
        patients = tuple(found for found in held.cohort.patients if found.id != patient)
    else:
        patients = tuple(
            _without(found, purpose) if found.id == patient else found for found in held.cohort.patients
        )
    if not patients:
        # A store without patients is none: the last one takes the folder along.
        shutil.rmtree(folder)
        return
    left = {photo.id for found in patients for photo in found.photos}
    store.save(
        folder,
        held.cohort.model_copy(update={"patients": patients}),
        {photo: held.crop(photo) for photo in held.photo_ids if photo in left},
        protocol=held.protocol,
        refused=held.refused,
        replace=True,
    )


def _without(patient: Patient, purpose: Purpose) -> Patient:
    purposes = patient.consent.purposes - {purpose}
    return patient.model_copy(
        update={"consent": patient.consent.model_copy(update={"purposes": frozenset(purposes)})}
    )
