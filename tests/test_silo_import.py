"""``phenofed silo import``, again and again: new, corrected, consent that ended, and what was decided on site."""

from __future__ import annotations

import datetime
import os
import pwd
from pathlib import Path

import pytest

from client.patients.importing import bring_in
from client.patients.withdrawal import withdraw
from client.workspace.workspace import Workspace
from common.cohort import folder as folders
from common.cohort import store
from common.cohort.schema import Consent, Purpose
from tests.consortium_folder import done, refusal
from tests.hospital_workspace import audit, bring, patients, workspace, write_source

FIRST = (("1.png", "P-1", "OMIM:122470", "train;match"), ("2.png", "P-2", "OMIM:147920", "match", "2090-01-31"))


@pytest.fixture
def hospital(tmp_path: Path) -> Workspace:
    return workspace(tmp_path)


def test_the_same_source_again_changes_no_byte(hospital: Workspace) -> None:
    assert "2 patients added" in bring(hospital, *FIRST)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in hospital.cohort_folder.iterdir()}
    assert "0 patients added, 0 updated, 2 unchanged, 0 removed" in bring(hospital, *FIRST)
    assert before == {
        path: (path.read_bytes(), path.stat().st_mtime_ns) for path in hospital.cohort_folder.iterdir()
    }


def test_patients_come_in_little_by_little(hospital: Workspace) -> None:
    bring(hospital, FIRST[0])
    bring(hospital, FIRST[1])
    said = bring(hospital, ("3.png", "P-1", "OMIM:122470", "train;match"), FIRST[0])
    assert "1 updated" in said
    assert "1 photos added" in said
    assert {name: len(patient.photos) for name, patient in patients(hospital).items()} == {"P-1": 2, "P-2": 1}
    held = store.load(hospital.cohort_folder)
    assert len(held.photo_ids) == len(held.crops) == 3


def test_a_corrected_diagnosis_moves_the_patient(hospital: Workspace) -> None:
    bring(hospital, *FIRST)
    said = bring(hospital, ("1.png", "P-1", "OMIM:194050", "train;match"))
    assert "1 have another diagnosis now: P-1" in said
    assert patients(hospital)["P-1"].syndrome == "OMIM:194050"
    keys = {syndrome.key for syndrome in store.load(hospital.cohort_folder).cohort.syndromes}
    assert keys == {"OMIM:194050", "OMIM:147920"}


def test_one_syndrome_is_enough_for_a_hospital(hospital: Workspace) -> None:
    assert "stored: 1 patients with 1 photos" in bring(hospital, FIRST[0])


def test_the_agreement_to_stand_alone_comes_from_its_column(hospital: Workspace) -> None:
    bring(hospital, ("1.png", "P-1", "A", "match", "", "yes"), ("2.png", "P-2", "A", "match", "", "no"))
    assert [patient.consent.alone for patient in patients(hospital).values()] == [True, False]


def test_consent_that_changed_is_taken_over_and_none_takes_the_crops_along(hospital: Workspace) -> None:
    bring(hospital, *FIRST)
    bring(hospital, ("1.png", "P-1", "OMIM:122470", "match", "2080-01-01"))
    consent = Consent(purposes=frozenset({Purpose.MATCH}), expires=datetime.date(2080, 1, 1))
    assert patients(hospital)["P-1"].consent == consent
    said = bring(hospital, ("1.png", "P-1", "OMIM:122470", "match", "2020-01-01"))
    assert "1 permit nothing any more and have left: P-1" in said
    assert list(patients(hospital)) == ["P-2"]
    assert len(store.load(hospital.cohort_folder).crops) == 1


def test_a_row_that_forgets_consent_changes_none(hospital: Workspace) -> None:
    bring(hospital, *FIRST)
    said = bring(hospital, ("1.png", "P-1", "OMIM:122470"), ("9.png", "P-9", "OMIM:122470"))
    assert "1 unchanged" in said
    assert set(patients(hospital)) == {"P-1", "P-2"}
    bring(hospital, ("9.png", "P-9", "OMIM:122470"), options=["--purposes", "match"])
    assert patients(hospital)["P-9"].consent.purposes == {Purpose.MATCH}


def test_bad_rows_lose_nothing(hospital: Workspace, tmp_path: Path) -> None:
    bring(hospital, *FIRST, ("3.png", "P-1", "OMIM:122470", "train;match"))
    (tmp_path / "source" / "3.png").write_bytes(b"\x89PNG broken")
    (tmp_path / "source" / "2.png").unlink()
    write_source(tmp_path / "source", FIRST[0], ("3.png", "P-1", "OMIM:122470", "train;match"))
    table = tmp_path / "source" / "cohort.csv"
    table.write_text(table.read_text() + "gone.png,P-1,OMIM:122470,train;match\n")
    said = done("silo", "import", hospital.folder, tmp_path / "source")
    assert "2 refused rows" in said
    assert "stay since rows were refused" in said
    assert {name: len(patient.photos) for name, patient in patients(hospital).items()} == {"P-1": 2, "P-2": 1}


def test_replace_is_the_whole_store_and_strict_stores_nothing_refused(hospital: Workspace, tmp_path: Path) -> None:
    bring(hospital, *FIRST)
    source = write_source(tmp_path / "source", FIRST[0], ("none.png", "P-3", "A", "match"))
    assert "rows are refused" in str(refusal("silo", "import", hospital.folder, source, "--strict", "--replace"))
    assert set(patients(hospital)) == {"P-1", "P-2"}
    bring(hospital, FIRST[0], options=["--replace"])
    assert set(patients(hospital)) == {"P-1"}


def test_an_import_never_undoes_what_was_decided_on_site(hospital: Workspace) -> None:
    bring(hospital, *FIRST)
    done("silo", "consent", "withdraw", hospital.folder, "P-1")
    done("silo", "consent", "withdraw", hospital.folder, "P-2", "--purpose", "match")
    for options in ([], ["--replace"]):
        assert "are kept out: they withdrew here" in str(
            bring(hospital, *FIRST, ("3.png", "P-3", "A", "match"), options=options)
        )
        assert set(patients(hospital)) == {"P-3"}
    done("silo", "consent", "set", hospital.folder, "P-1", "--purposes", "match", "--expires", "2085-01-01")
    assert "1 patients added" in bring(hospital, *FIRST)
    consent = Consent(purposes=frozenset({Purpose.MATCH}), expires=datetime.date(2085, 1, 1))
    assert patients(hospital)["P-1"].consent == consent


def test_who_withdraws_while_photos_are_decoded_stays_out(hospital: Workspace, tmp_path: Path) -> None:
    bring(hospital, *FIRST)
    source = write_source(tmp_path / "source", *FIRST, ("3.png", "P-1", "OMIM:122470", "train;match"))
    read = folders.read(source, consent=Consent())

    def meanwhile(done: int, all_photos: int) -> None:
        withdraw(hospital, "P-1", None, datetime.date.today())

    brought = bring_in(hospital, read, today=datetime.date.today(), progress=meanwhile)
    assert brought.changes.kept_out == ["P-1"]
    assert set(patients(hospital)) == {"P-2"}


def test_every_import_leaves_a_line_with_user_and_counts_and_nobodys_id(hospital: Workspace) -> None:
    bring(hospital, *FIRST)
    refusal("silo", "import", hospital.folder, hospital.folder.parent / "P-1-nowhere")
    first, second = audit(hospital)
    assert (first.event, first.who, first.outcome) == (
        "import",
        f"user {pwd.getpwuid(os.getuid()).pw_name}",
        "done",
    )
    assert (first.facts["added"], first.facts["patients"], first.facts["photos"]) == (2, 2, 2)
    assert (second.outcome, second.reason) == ("refused", "patients as stored or brought")
    assert b"P-1" not in first.line + second.line


def test_crops_that_a_killed_import_left_lying_are_removed(hospital: Workspace) -> None:
    left = hospital.folder / ".cohort.killed"
    left.mkdir()
    (left / "crops.npy").write_bytes(b"faces")
    bring(hospital, *FIRST)
    assert not left.exists()
