"""A folder with a CSV file is read; names do not pass for pseudonyms and paths do not lead outside."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.cohort import folder
from common.cohort.importing import import_photos
from common.cohort.schema import Consent, Purpose
from common.errors import CohortError
from tests.cohort_files import write_folder

CONSENT = Consent(purposes=frozenset({Purpose.MATCH}))


def test_patients_photos_and_syndromes(tmp_path: Path) -> None:
    write_folder(tmp_path)
    result = folder.read(tmp_path, consent=CONSENT)
    assert result.protocol is None
    assert result.refused == []
    assert [patient.id for patient in result.cohort.patients] == ["P-0", "P-1", "P-2", "P-3"]
    assert [syndrome.identifiers for syndrome in result.cohort.syndromes] == [("OMIM:122470",), ("OMIM:147920",)]
    assert result.cohort.patients[0].consent == CONSENT
    assert len(import_photos(result.cohort).crops) == 4
    assert all("face" not in photo.id for _, photo in result.cohort.photos())


def test_optional_columns(tmp_path: Path) -> None:
    table = write_folder(tmp_path)
    table.write_text(
        "Patient,photo,syndrome,syndrome_name,identifiers,hpo_present,hpo_absent,age_years,sex,ancestry,pmid,"
        "purposes,consent_expires,doctor\n"
        "A,face 0.png,smith,Smith syndrome,MONDO:0007374,HP:0000316,HP:0000369,2.5,m,European,99,train,"
        "2031-01-02,X\n"
        "B,face 1.png,OMIM:122470,,,,,,,,,,,X\n"
        "C,face 2.png,,,,,,,,,,,,X\n"
    )
    result = folder.read(table, consent=CONSENT)
    first, second, third = result.cohort.patients
    assert result.cohort.syndrome("smith").identifiers == ("MONDO:0007374",)
    assert (first.sex, first.age_years, first.pmid, first.ancestry) == ("male", 2.5, "PMID:99", "European")
    assert first.consent.purposes == {Purpose.TRAIN}
    assert str(first.consent.expires) == "2031-01-02"
    assert second.consent == CONSENT
    assert third.syndrome is None


def test_bad_rows_are_refused_and_say_nothing_of_persons(tmp_path: Path) -> None:
    table = write_folder(tmp_path / "cohort")
    (tmp_path / "outside.png").write_bytes((tmp_path / "cohort" / "face 0.png").read_bytes())
    bad = [
        "face 0.png,Jane Roe,OMIM:122470",
        "face 0.png,jane@roe.example,OMIM:122470",
        "../outside.png,P-9,OMIM:122470",
        "/etc/hostname,P-9,OMIM:122470",
        "Jane Roe.png,P-9,OMIM:122470",
        ",P-9,OMIM:122470",
        "face 0.png,P-9,OMIM:122470",
        "face 1.png,P-0,OMIM:147920",
        f"face 1.png,P-9,{'x' * 80}",
        "face 1.png,P-9,OMIM:122470,1,2",
        ".,P-9,OMIM:122470",
    ]
    with table.open("a") as file:
        file.write("\n".join(bad) + "\n")
    result = folder.read(tmp_path / "cohort", consent=CONSENT)
    assert [(entry.line, entry.reason) for entry in result.refused] == [
        (6, "patient is no pseudonym such as P-0012"),
        (7, "patient is no pseudonym such as P-0012"),
        (8, "the photo lies outside the cohort's folder"),
        (9, "the photo lies outside the cohort's folder"),
        (10, "the photo cannot be read (No such file or directory)"),
        (11, "names no photo"),
        (12, "its photo is that of line 2 already"),
        (13, "patient P-0 has another syndrome already"),
        (14, "syndrome is no identifier such as OMIM:122470 and no short label"),
        (15, "has landmarks that are no five points"),
        (16, "the photo cannot be read (Is a directory)"),
    ]
    assert len(result.cohort.patients) == 4
    assert "Roe" not in repr(result.refused)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("photo,syndrome\na,b\n", "cohort.csv has no column 'patient': its header must name"),
        ("photo,patient,syndrome\n", "has no usable row: mend"),
        (
            "photo,patient,syndrome\nnone.png,P-0,x\n",
            "no usable row; first: cohort.csv:2: the photo cannot be read",
        ),
    ],
)
def test_an_unusable_table_is_one_clear_error(tmp_path: Path, content: str, message: str) -> None:
    write_folder(tmp_path).write_text(content)
    with pytest.raises(CohortError) as caught:
        folder.read(tmp_path, consent=CONSENT)
    assert message in str(caught.value)


def test_one_syndrome_is_enough_for_a_hospital(tmp_path: Path) -> None:
    write_folder(tmp_path).write_text("photo,patient,syndrome\nface 0.png,P-0,x\nface 1.png,P-1,x\n")
    assert len(folder.read(tmp_path, consent=CONSENT).cohort.patients) == 2


def test_rows_that_say_nothing_of_consent_are_told_from_a_no(tmp_path: Path) -> None:
    write_folder(tmp_path).write_text(
        "photo,patient,syndrome,consent,alone\n"
        "face 0.png,P-0,x,,\nface 1.png,P-1,x,no,\nface 2.png,P-2,x,yes,yes\nface 3.png,P-3,x,,perhaps\n"
    )
    result = folder.read(tmp_path, consent=CONSENT)
    assert result.silent == {"P-0"}
    assert [patient.consent.alone for patient in result.cohort.patients] == [False, False, True, False]
    assert result.cohort.patients[1].consent.purposes == frozenset()
    assert result.notes == ["1 rows have an entry on consent that is not understood; it permits nothing"]


def test_the_table_is_found_or_asked_for(tmp_path: Path) -> None:
    table = write_folder(tmp_path)
    (tmp_path / "other.csv").write_text("x\n")
    assert folder.find_table(tmp_path) == table
    table.rename(tmp_path / "another.csv")
    with pytest.raises(CohortError, match="several CSV files: name the file"):
        folder.find_table(tmp_path)
    with pytest.raises(CohortError, match="does not exist"):
        folder.find_table(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CohortError, match=r"no CSV file: add cohort.csv"):
        folder.find_table(tmp_path / "empty")
