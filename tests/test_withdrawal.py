"""A patient withdraws: crops and consent are gone from the store at once, and nothing else of it changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from client.withdrawal import withdraw
from common.cohort import store
from common.cohort.schema import Cohort, Consent, Patient, Photo, Purpose, Syndrome
from common.errors import CohortError


def _stored(folder: Path, patients: int = 3) -> Path:
    consent = Consent(purposes=frozenset({Purpose.TRAIN, Purpose.MATCH}))
    people = tuple(
        Patient(
            id=f"p{number}",
            photos=(Photo(id=f"photo-{number}", path=Path("x.png"), sha256="0" * 64),),
            syndrome="A",
            consent=consent,
        )
        for number in range(patients)
    )
    cohort = Cohort(name="tiny", patients=people, syndromes=(Syndrome(key="A", name="A syndrome"),))
    crops = {f"photo-{number}": np.full((112, 112, 3), number, np.uint8) for number in range(patients)}
    store.save(folder / "cohort", cohort, crops)
    return folder / "cohort"


def test_who_withdraws_altogether_leaves_no_crop_behind(tmp_path: Path) -> None:
    folder = _stored(tmp_path)
    withdraw(folder, "p1", None)
    held = store.load(folder)
    assert [patient.id for patient in held.cohort.patients] == ["p0", "p2"]
    assert [int(held.crop(photo).max()) for photo in held.photo_ids] == [0, 2]
    assert not [path for path in tmp_path.rglob("*") if path.name not in ("cohort", *_NAMES)]


def test_who_withdraws_from_matching_may_still_be_trained_on(tmp_path: Path) -> None:
    folder = _stored(tmp_path)
    withdraw(folder, "p1", Purpose.MATCH)
    consents = {patient.id: patient.consent.purposes for patient in store.load(folder).cohort.patients}
    assert consents["p1"] == {Purpose.TRAIN}
    assert consents["p0"] == {Purpose.TRAIN, Purpose.MATCH}


def test_the_last_patient_takes_the_store_along(tmp_path: Path) -> None:
    folder = _stored(tmp_path, patients=1)
    withdraw(folder, "p0", None)
    assert not folder.exists()


def test_an_unknown_patient_changes_nothing(tmp_path: Path) -> None:
    folder = _stored(tmp_path)
    with pytest.raises(CohortError, match="no patient 'p9'"):
        withdraw(folder, "p9", None)
    assert len(store.load(folder).cohort.patients) == 3


_NAMES = ("cohort.json", "crops.npy", "manifest.json")
