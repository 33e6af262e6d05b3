"""The GMDB layout is read by column name, by any version, and with every refused row accounted for."""

from __future__ import annotations

import shutil
import tempfile
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.cohort import gmdb
from common.cohort.importing import import_photos
from common.cohort.reading import ReadResult
from common.cohort.schema import Consent, Purpose
from common.errors import CohortError
from tests.cohort_files import Gmdb, drawn_face, write_gmdb

CONSENT = Consent(purposes=frozenset({Purpose.TRAIN, Purpose.MATCH}))


@pytest.fixture
def layout(tmp_path: Path) -> Gmdb:
    return write_gmdb(tmp_path / "gmdb")


def read(layout: Gmdb, **options: object) -> ReadResult:
    return gmdb.read(layout.root, consent=CONSENT, **options)


def test_patients_syndromes_and_protocol(layout: Gmdb) -> None:
    result = read(layout, partition="site", silos=2)
    assert result.refused == []
    assert result.notes == []
    assert [patient.id for patient in result.cohort.patients] == [str(n) for n in range(101, 113)]
    assert [syndrome.key for syndrome in result.cohort.syndromes] == ["70", "71", "72", "73"]
    assert result.cohort.syndrome("72").identifiers == ("OMIM:147920", "OMIM:180849")
    assert result.cohort.syndrome("73").name == "Fourth syndrome"
    protocol = result.protocol
    assert protocol.train == ("1", "2", "5", "6")
    assert protocol.val == ("3", "7")
    assert protocol.frequent_gallery == ("1", "2", "3", "5", "6", "7")
    assert protocol.frequent_test == ("4", "8")
    assert [(split.test, split.gallery) for split in protocol.rare] == [
        (("10", "12"), ("9", "11")),
        (("9", "11"), ("10", "12")),
    ]
    assert protocol.silo_of["9"] == "silo-1"
    assert protocol.silo_of["12"] == "silo-2"
    assert protocol.label_of["9"] == "72"
    assert protocol.patient_of["9"] == "109"


def test_facts_of_a_patient_come_in_and_identifiers_do_not(layout: Gmdb) -> None:
    result = read(layout)
    jane, john = result.cohort.patients[0], result.cohort.patients[11]
    assert jane.age_years == 3.5
    assert (jane.sex, jane.ancestry, jane.pmid) == ("female", "Asian", "PMID:12345678")
    assert jane.hpo_present == ("HP:0000316", "HP:0000343")
    assert jane.hpo_absent == ("HP:0000369",)
    assert john.sex is None
    everything = result.cohort.model_dump_json() + repr(result.refused) + repr(result.notes)
    for secret in ("Roe", "Secretname", "secretuser", "roe.example"):
        assert secret not in everything


def test_consent_of_a_row_goes_before_the_default_and_filters(layout: Gmdb) -> None:
    result = read(layout)
    allowed = result.cohort.for_purpose(Purpose.MATCH, date(2030, 1, 1))
    assert len(allowed.patients) == 11
    assert "112" not in [patient.id for patient in allowed.patients]
    assert result.cohort.for_purpose(Purpose.DISPLAY, date(2030, 1, 1)).patients == ()


def test_patients_who_allow_nothing_can_be_left_out_with_their_rows(layout: Gmdb) -> None:
    result = read(layout, partition="site", silos=2)
    kept = result.permitted(date(2030, 1, 1))
    assert [patient.id for patient in kept.cohort.patients] == [str(n) for n in range(101, 112)]
    assert "12" not in kept.protocol.silo_of
    assert kept.protocol.rare[1].gallery == ("10",)
    (entry,) = kept.refused
    assert (entry.file, entry.line) == (f"gmdb_metadata/gmdb_rare_gallery_images_{layout.version}.csv", 5)
    assert entry.reason == "photo 12: consent does not cover any purpose on 2030-01-01"
    assert kept.permitted(date(2030, 1, 1), Purpose.TRAIN) is kept
    assert kept.permitted(date(2030, 1, 1), Purpose.DISPLAY).cohort.patients == ()


def test_consent_that_is_not_understood_permits_nothing_and_is_noted(layout: Gmdb) -> None:
    path = layout.metadata / f"image_metadata_{layout.version}.tsv"
    path.write_text("image_id\tconsent\tpurposes\tconsent_expires\n1\tperhaps\t\t\n2\t\ttrain\t2031-02-03\n")
    result = read(layout)
    first, second = result.cohort.patients[:2]
    assert first.consent == Consent()
    assert second.consent == Consent(purposes=frozenset({Purpose.TRAIN}), expires=date(2031, 2, 3))
    assert result.notes == ["1 rows have an entry on consent that is not understood; it permits nothing"]


def test_without_a_partition_no_photo_has_a_silo(layout: Gmdb) -> None:
    assert read(layout).protocol.silo_of == {}


def test_a_photo_that_only_federated_files_list_comes_in_anyway(layout: Gmdb) -> None:
    drawn_face(13).save(layout.root / "gmdb_images" / "13.jpg")
    with layout.silo_table("rare", 1).open("a") as file:
        file.write("13,113,73\n")
    for options in ({}, {"partition": "site", "silos": 2}):
        result = read(layout, **options)
        assert len(result.cohort.patients) == 13
        assert result.protocol.label_of["13"] == "73"


def test_another_writers_files_read_the_same(layout: Gmdb) -> None:
    """Byte-order mark, CRLF, quotes, other column order and case, unknown columns, ids as floats."""
    expected = read(layout, partition="site", silos=2)
    table = layout.table("train")
    labels = {i: label for i, (_, label) in layout.photos.items()}
    body = "\r\n".join(
        ["Label,comment,IMAGE_ID,Subject"]
        + [f'{labels[i]}.0,"a, ""quoted""\r\nnote",{i},{layout.photos[i][0]}' for i in (1, 2, 5, 6)]
    )
    table.write_bytes(b"\xef\xbb\xbf" + body.encode() + b"\r\n\r\n")
    semicolons = layout.table("val").read_text().replace(",", ";")
    layout.table("val").write_text(semicolons)
    result = read(layout, partition="site", silos=2)
    assert result.refused == []
    assert result.protocol == expected.protocol
    assert [p.id for p in result.cohort.patients] == [p.id for p in expected.cohort.patients]


@pytest.mark.parametrize("extension", [".png", ".jpeg", ".JPG", ".webp"])
def test_other_image_extensions_are_found(layout: Gmdb, extension: str) -> None:
    for path in (layout.root / "gmdb_images").iterdir():
        drawn_face(int(path.stem)).save(path.with_suffix(extension))
        path.unlink()
    result = read(layout)
    assert len(result.cohort.patients) == 12
    assert len(import_photos(result.cohort).crops) == 12


def test_missing_optional_files_are_no_error(layout: Gmdb) -> None:
    shutil.rmtree(layout.metadata / "federated_metadata")
    for path in (
        *layout.metadata.glob("*.tsv"),
        layout.table("val"),
        layout.root / "gmdb_rot" / "face_coords.csv",
    ):
        path.unlink()
    result = read(layout, partition="uniform", silos=4)
    assert result.protocol.val == ()
    assert result.protocol.silo_of == {}
    assert "no federated split files" in result.notes[0]
    assert result.cohort.syndrome("70").name == "70"
    assert result.cohort.patients[0].consent == CONSENT
    assert result.cohort.patients[0].photos[0].landmarks is None


def test_a_missing_gallery_or_train_file_follows_from_the_others(layout: Gmdb) -> None:
    layout.table("frequent_gallery").unlink()
    assert set(read(layout).protocol.frequent_gallery) == {"1", "2", "3", "5", "6", "7"}
    layout.write_table("frequent_gallery", [1, 2, 3, 5, 6, 7])
    layout.table("train").unlink()
    assert read(layout).protocol.train == ("1", "2", "5", "6")


def test_ready_made_crops_go_before_photos(layout: Gmdb) -> None:
    (layout.root / "gmdb_align").mkdir()
    (layout.root / "gmdb_crops").mkdir()
    drawn_face(91).crop((8, 8, 120, 120)).save(layout.root / "gmdb_align" / "1_rot_aligned.png")
    drawn_face(92).crop((8, 8, 120, 120)).save(layout.root / "gmdb_crops" / "2_aligned.png")
    photos = {photo.id: photo for _, photo in read(layout).cohort.photos()}
    assert [photos[i].aligned for i in ("1", "2", "3")] == [True, True, False]
    assert photos["1"].landmarks is None
    assert photos["3"].landmarks is not None


def test_coordinates_belong_to_the_rotated_copy_where_there_is_one(layout: Gmdb) -> None:
    drawn_face(93).save(layout.root / "gmdb_rot" / "1.jpg")
    photos = {photo.id: photo for _, photo in read(layout).cohort.photos()}
    assert photos["1"].path.parent.name == "gmdb_rot"
    assert photos["2"].path.parent.name == "gmdb_images"


def test_bad_rows_are_refused_with_file_line_and_reason(layout: Gmdb) -> None:
    (layout.root / "gmdb_images" / "2.jpg").unlink()
    (layout.root / "gmdb_images" / "5.jpg").write_bytes(b"")
    with layout.table("train").open("a") as file:
        file.write(
            "6,999,71\n1,101,71\n,,\n77,,70\n../../secret,1,70\n1,101,70,x\n1,101,70\n\x1b[2J,1,70\n"
            f"{'x' * 65},1,70\n"
        )
    result = read(layout)
    name = f"gmdb_metadata/gmdb_train_images_{layout.version}.csv"
    train = {entry.line: entry.reason for entry in result.refused if entry.file == name}
    assert train == {
        3: "photo 2 has no file",
        4: "photo 5 is an empty file",
        6: "photo 6 belongs to another patient already",
        7: "the patient of photo 1 has another label already",
        9: "has no image_id, subject or label",
        10: "photo ../../secret has no file",
        11: "has more than 3 cells",
        12: "photo 1 stands here twice",
        13: "photo \ufffd[2J has no file",
        14: "has an image_id, subject or label longer than 64 letters",
    }
    assert result.protocol.train == ("1", "6")
    assert {"2", "5"}.isdisjoint(result.protocol.label_of)


def test_patients_stay_on_one_side_of_a_comparison(layout: Gmdb) -> None:
    layout.photos[13] = (101, 70)
    layout.photos[14] = (109, 72)
    for i in (13, 14):
        drawn_face(i).save(layout.root / "gmdb_images" / f"{i}.jpg")
    layout.write_table("frequent_test", [4, 8, 13])
    layout.write_table("val", [3, 7, 13])
    layout.write_rare("rare_test", {0: [10, 12, 14], 1: [9, 11, 14]})
    result = read(layout)
    assert result.protocol.frequent_test == ("4", "8")
    assert result.protocol.val == ("3", "7")
    assert result.protocol.rare[0].test == ("10", "12")
    assert result.protocol.rare[1].test == ("9", "11", "14")
    assert [entry.reason for entry in result.refused] == [
        "the patient of photo 13 is trained on or in the gallery",
        "the patient of photo 13 is trained on or in the gallery",
        "the patient of photo 14 is trained on or in the gallery",
    ]


def test_with_silos_a_photo_at_none_or_two_of_them_is_refused(layout: Gmdb) -> None:
    layout.silo_table("train", 0).write_text("image_id,subject,label\n1,101,70\n")
    with layout.silo_table("train", 1).open("a") as file:
        file.write("1,101,70\n")
    result = read(layout, partition="site", silos=2)
    assert result.protocol.silo_of["1"] == "silo-1"
    assert "5" not in result.protocol.train
    reasons = [entry.reason for entry in result.refused]
    assert "photo 1 lies at silo-1 already" in reasons
    assert reasons.count("photo 5 lies at no silo") == 2


def test_sixteen_parties_and_literal_prefixes(layout: Gmdb) -> None:
    for party in range(16):
        rows = layout.rows([i for i in (1, 2, 3, 5, 6, 7, 9, 10, 11, 12) if i % 16 == party])
        path = layout.silo_table("train", party, prefix="by_moon_phase_", silos=16)
        path.write_text("image_id,subject,label\n" + rows)
    result = read(layout, partition="by_moon_phase_", silos=16)
    assert result.refused == []
    assert result.protocol.silo_of["12"] == "silo-13"
    with pytest.raises(
        CohortError, match="'uniform' with 16 silos: there are by_moon_phase with 16 silos; site with 2"
    ):
        read(layout, partition="uniform", silos=16)
    layout.silo_table("train", 7, prefix="by_moon_phase_", silos=16).unlink()
    with pytest.raises(CohortError, match="add the missing files"):
        read(layout, partition="by_moon_phase_", silos=16)


def test_the_version_is_found_or_asked_for(layout: Gmdb) -> None:
    assert read(layout).cohort.name == "gmdb-v9.9.9"
    shutil.copy(layout.table("train"), layout.metadata / "gmdb_train_images_v10.csv")
    with pytest.raises(CohortError, match=r"several versions \(v10, v9.9.9\): name the version"):
        read(layout)
    assert read(layout, version="v9.9.9").protocol.val == ("3", "7")
    with pytest.raises(CohortError, match="no version 'v2'"):
        read(layout, version="v2")


def test_features_that_are_no_terms_are_counted_and_not_repeated(layout: Gmdb) -> None:
    path = layout.metadata / f"image_metadata_{layout.version}.tsv"
    path.write_text(
        "image_id\tpresent_features\tage_year\n1\tHP:0000316 (Hypertelorism);hp:0000343;Jane Roe;;HP:1\t-4\n"
    )
    result = read(layout)
    assert result.cohort.patients[0].hpo_present == ("HP:0000316", "HP:0000343")
    assert result.cohort.patients[0].age_years is None
    assert result.notes == ["2 entries among the features are no HPO identifiers and were left out"]


def test_landmarks_that_are_no_numbers_leave_the_photo_to_the_detector(layout: Gmdb) -> None:
    path = layout.root / "gmdb_rot" / "face_coords.csv"
    lines = path.read_text().splitlines()
    for line, word in ((1, "oops"), (2, "nan")):
        cells = lines[line].split(",")
        lines[line] = ",".join([*cells[:6], word, *cells[7:]])
    path.write_text("\n".join([*lines, lines[3]]) + "\n")
    result = read(layout)
    assert [(entry.line, entry.reason) for entry in result.refused] == [
        (2, "has landmarks that are no numbers"),
        (3, "has landmarks that are no numbers"),
        (14, "photo 3 has landmarks already"),
    ]
    photos = {photo.id: photo for _, photo in result.cohort.photos()}
    assert photos["1"].landmarks is None
    assert photos["3"].landmarks is not None


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda g: shutil.rmtree(g.root), "is not a folder: check the path"),
        (lambda g: shutil.rmtree(g.metadata), "no folder 'gmdb_metadata'"),
        (lambda g: shutil.rmtree(g.root / "gmdb_images"), "no folder 'gmdb_images'"),
        (lambda g: [p.unlink() for p in g.metadata.glob("gmdb_*.csv")], "no split file"),
        (lambda g: g.table("train").write_text("image_id,subject\n1,2\n"), "no column 'label': its header must"),
        (lambda g: g.table("train").write_text(""), "is empty"),
        (lambda g: g.table("rare_test").write_text("image_id,subject,label\n"), "no column 'split'"),
        (lambda g: [p.unlink() for p in (g.root / "gmdb_images").iterdir()], "no usable photo; first: gmdb_met"),
    ],
)
def test_an_unusable_cohort_is_one_clear_error(layout: Gmdb, damage, message: str) -> None:
    damage(layout)
    with pytest.raises(CohortError) as caught:
        read(layout)
    assert message in str(caught.value)
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


def test_naming_the_folder_above_says_which_to_name(layout: Gmdb) -> None:
    with pytest.raises(CohortError, match="name one of its folders: gmdb"):
        gmdb.read(layout.root.parent, consent=CONSENT)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_tables_are_a_result_or_a_cohort_error(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        layout = write_gmdb(Path(folder) / "gmdb", photos=False)
        tables = sorted(path for path in layout.root.rglob("*") if path.suffix in (".csv", ".tsv"))
        path = data.draw(st.sampled_from(tables))
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            start = data.draw(st.integers(0, len(content)))
            replacement = data.draw(
                st.binary(max_size=6) | st.sampled_from([b'"', b",", b"\r\n", b"\t", b"1e999"])
            )
            content[start : start + data.draw(st.integers(0, 6))] = replacement
        path.write_bytes(content)
        try:
            result = gmdb.read(layout.root, partition="site", silos=2, consent=CONSENT)
        except CohortError:
            return
        listed = {photo.id for _, photo in result.cohort.photos()}
        roles = result.protocol
        assert listed >= {*roles.train, *roles.val, *roles.frequent_gallery, *roles.frequent_test}
        assert set(roles.label_of) == set(roles.patient_of) == listed
        known = {roles.patient_of[photo] for photo in (*roles.train, *roles.frequent_gallery)}
        assert known.isdisjoint(roles.patient_of[photo] for photo in roles.frequent_test)
