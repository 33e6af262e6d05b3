"""The agreement to stand alone: kept where it was recorded, and False wherever nothing was."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import numpy as np

from common.cohort import store
from common.cohort.attributes import parse_consent
from common.cohort.schema import Cohort, Consent, Patient, Photo, Purpose, Syndrome
from common.storage import sha256_file, write_json

ALONE = Consent(purposes=frozenset({Purpose.MATCH}), alone=True)


def stored(folder: Path) -> Path:
    photo = Photo(id="p1-1", path=Path("p1.png"), sha256="00" * 32)
    patient = Patient(id="p1", photos=(photo,), syndrome="s", consent=ALONE)
    cohort = Cohort(name="c", patients=(patient,), syndromes=(Syndrome(key="s", name="S"),))
    store.save(folder, cohort, {"p1-1": np.zeros((112, 112, 3), dtype=np.uint8)})
    return folder


def test_the_agreement_is_stored_with_the_patient(tmp_path: Path) -> None:
    assert store.load(stored(tmp_path / "c")).cohort.patients[0].consent == ALONE


def test_a_cohort_stored_before_loads_without_it(tmp_path: Path) -> None:
    folder = stored(tmp_path / "c")
    content = json.loads((folder / "cohort.json").read_text())
    del content["cohort"]["patients"][0]["consent"]["alone"]
    write_json(folder / "cohort.json", content)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["sha256"]["cohort.json"] = sha256_file(folder / "cohort.json")
    write_json(folder / "manifest.json", manifest)
    consent = store.load(folder).cohort.patients[0].consent
    assert consent == Consent(purposes=frozenset({Purpose.MATCH}))
    assert not consent.alone


def test_a_row_of_a_table_grants_it_by_name_alone() -> None:
    assert parse_consent(ALONE, agreed="yes")[0].alone
    assert parse_consent(Consent(purposes=ALONE.purposes), alone="Yes") == (ALONE, True)
    for cells in (
        {},
        {"agreed": "yes"},
        {"purposes": "match"},
        {"expires": "2030-01-01"},
        {"alone": "no"},
        {"alone": "perhaps"},
        {"alone": "yes", "agreed": "no"},
    ):
        consent, _ = parse_consent(
            Consent(purposes=frozenset(Purpose), expires=datetime.date(2031, 1, 1)), **cells
        )
        assert not consent.alone
