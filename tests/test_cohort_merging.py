"""A source comes into a stored cohort: what is new comes in, what is corrected follows, nothing else is lost."""

from __future__ import annotations

import datetime
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.cohort import store
from common.cohort.exchange import exchange
from common.cohort.merging import Merged, merge, to_crop
from common.cohort.reading import ReadResult, Refused
from common.cohort.schema import Cohort, Consent, Patient, Photo, Purpose, Syndrome
from common.storage import sha256_bytes

TODAY = datetime.date(2026, 6, 1)
AGREED = Consent(purposes=frozenset({Purpose.TRAIN, Purpose.MATCH}))
NOTHING = Consent()
BAD_ROW = Refused("cohort.csv", 9, "the photo cannot be read")


def photo(name: str, **changes: object) -> Photo:
    content = sha256_bytes(name.encode())
    return Photo.model_validate({"id": content[:16], "path": "x.png", "sha256": content, **changes})


def patient(name: str, photos: str = "", syndrome: str | None = "A", consent: Consent = AGREED) -> Patient:
    """A patient whose photos are named by letters."""
    return Patient(
        id=name, photos=tuple(photo(letter) for letter in photos or name), syndrome=syndrome, consent=consent
    )


def cohort(*patients: Patient) -> Cohort:
    labels = sorted({person.syndrome for person in patients if person.syndrome})
    return Cohort(
        name="clinic", patients=patients, syndromes=tuple(Syndrome(key=label, name=label) for label in labels)
    )


def take(held: Cohort | None, *patients: Patient, bad: str = "", **options: object) -> Merged:
    """Merge a source; ``bad``: photos that give no crop."""
    refused = options.pop("refused", [])
    silent = options.pop("silent", frozenset())
    read = ReadResult(cohort(*patients), None, refused, silent=frozenset(silent))
    cropped = {p.id for _, p in to_crop(held, read.cohort).photos()} - {photo(letter).id for letter in bad}
    return merge(held, read, cropped, on=TODAY, **options)


def letters(merged: Merged | Cohort) -> dict[str, str]:
    """Patients and their photos by letter."""
    found = merged.cohort if isinstance(merged, Merged) else merged
    names = {photo(letter).sha256: letter for letter in "abcdefghijkl"}
    return {person.id: "".join(names[p.sha256] for p in person.photos) for person in found.patients}


HELD = cohort(patient("p", "ab"), patient("q", "c", "B"))


def test_the_same_source_again_changes_nothing_and_decodes_nothing() -> None:
    assert to_crop(HELD, cohort(*HELD.patients)).patients == ()
    again = take(HELD, *HELD.patients)
    assert not again.changed
    assert again.cohort == HELD
    assert again.changes.unchanged == ["p", "q"]
    assert again.held_crops == {p.id for _, p in HELD.photos()}


def test_who_is_not_named_stays_and_who_is_new_comes_last() -> None:
    merged = take(HELD, patient("r", "d"))
    assert letters(merged) == {"p": "ab", "q": "c", "r": "d"}
    assert (merged.changes.added, merged.changes.photos_added) == (["r"], 1)


def test_photos_come_and_go_with_the_rows_of_their_patient() -> None:
    merged = take(HELD, patient("p", "bd"))
    assert letters(merged)["p"] == "bd"
    assert (merged.changes.photos_added, merged.changes.photos_removed) == (1, 1)
    assert merged.held_crops == {photo("b").id, photo("c").id}
    assert merged.changes.updated == ["p"]


def test_a_photo_goes_only_where_no_row_was_refused() -> None:
    merged = take(HELD, patient("p", "ad"), refused=[BAD_ROW])
    assert letters(merged)["p"] == "abd"
    assert merged.changes.photos_kept == 1


def test_a_new_photo_that_cannot_be_used_takes_nothing_away() -> None:
    assert letters(take(HELD, patient("p", "ad"), bad="d"))["p"] == "a"
    assert letters(take(HELD, patient("p", "d"), bad="d"))["p"] == "ab"
    assert "r" not in letters(take(HELD, patient("r", "d"), bad="d"))


def test_a_corrected_diagnosis_moves_the_patient() -> None:
    merged = take(HELD, patient("p", "ab", "B"))
    assert merged.changes.moved == merged.changes.updated == ["p"]
    assert [person.syndrome for person in merged.cohort.patients] == ["B", "B"]
    assert [syndrome.key for syndrome in merged.cohort.syndromes] == ["B"]
    solved = take(cohort(patient("u", "e", None)), patient("u", "e", "B"))
    assert solved.cohort.patients[0].syndrome == "B"


def test_a_photo_filed_under_the_wrong_patient_moves_with_its_row() -> None:
    merged = take(HELD, patient("p", "a"), patient("q", "cb", "B"))
    assert letters(merged) == {"p": "a", "q": "cb"}
    assert photo("b").id in merged.held_crops


def test_another_patients_photo_is_refused_where_that_patient_is_not_named() -> None:
    merged = take(HELD, patient("r", "bd"))
    assert letters(merged) == {"p": "ab", "q": "c", "r": "d"}
    assert "is stored for another patient" in merged.changes.refused[0].reason


def test_a_file_that_was_replaced_or_landmarks_that_moved_are_cropped_again() -> None:
    same_name = photo("a").model_copy(update={"sha256": sha256_bytes(b"another")})
    moved = photo("b", landmarks=[(1, 2)] * 5)
    changed = HELD.patients[0].model_copy(update={"photos": (same_name, moved)})
    assert [p for _, p in to_crop(HELD, cohort(changed)).photos()] == [same_name, moved]
    merged = take(HELD, changed)
    assert merged.cohort.patients[0].photos == (same_name, moved)
    assert merged.held_crops == {photo("c").id}


def test_consent_follows_the_source_and_silence_is_no_answer() -> None:
    less = Consent(purposes=frozenset({Purpose.MATCH}), expires=datetime.date(2030, 1, 1))
    merged = take(HELD, patient("p", "ab", consent=less))
    assert merged.cohort.patients[0].consent == less
    assert not take(HELD, patient("p", "ab", consent=NOTHING), silent={"p"}).changed
    assert take(HELD, patient("p", "ab", consent=less), silent={"p"}).cohort.patients[0].consent == less
    gone = take(HELD, patient("p", "ab", consent=NOTHING))
    assert letters(gone) == {"q": "c"}
    assert (gone.changes.removed, gone.changes.photos_removed) == (["p"], 2)


@pytest.mark.parametrize(
    ("consent", "only"),
    [
        (NOTHING, None),
        (Consent(purposes=AGREED.purposes, expires=TODAY - datetime.timedelta(days=1)), None),
        (AGREED, Purpose.DISCOVER),
    ],
)
def test_new_patients_without_consent_stay_out(consent: Consent, only: Purpose | None) -> None:
    merged = take(HELD, patient("r", "d", consent=consent), only=only)
    assert not merged.changed
    assert f"consent does not cover {only or 'any purpose'}" in merged.changes.refused[0].reason


def test_what_was_decided_on_site_goes_before_the_source() -> None:
    withdrawn = {"p": NOTHING, "q": Consent(purposes=frozenset({Purpose.MATCH})), "r": NOTHING}
    merged = take(
        HELD,
        *HELD.patients,
        patient("r", "d"),
        on_site=lambda name, said: Consent(purposes=said.purposes & withdrawn[name].purposes),
    )
    assert letters(merged) == {"q": "c"}
    assert merged.cohort.patients[0].consent.purposes == {Purpose.MATCH}
    assert (merged.changes.kept_out, merged.changes.removed) == (["p", "r"], ["p"])
    assert [entry.reason.rpartition(": ")[2] for entry in merged.changes.refused] == ["the patient withdrew here"]


def test_a_source_that_knows_less_of_a_syndrome_takes_nothing_away() -> None:
    full = Syndrome(key="A", name="A syndrome", identifiers=("OMIM:122470",))
    held = HELD.model_copy(update={"syndromes": (full, HELD.syndromes[1])})
    assert not take(held, *HELD.patients).changed


PEOPLE = st.lists(
    st.builds(
        patient,
        st.sampled_from("pqr"),
        st.lists(st.sampled_from("abcdef"), min_size=1, max_size=3, unique=True).map("".join),
        st.sampled_from(["A", "B", None]),
        st.sampled_from([AGREED, NOTHING]),
    ),
    max_size=3,
    unique_by=lambda person: person.id,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(PEOPLE, max_size=4), st.sampled_from(["", "a", "bd"]), st.booleans())
def test_whatever_comes_photos_have_one_owner_and_a_second_time_changes_nothing(
    sources: list[list[Patient]], bad: str, some_refused: bool
) -> None:
    held: Cohort | None = None
    for people in sources:
        options = {"bad": bad, "refused": [BAD_ROW] if some_refused else []}
        merged = take(held, *people, **options)
        ids = [p.id for _, p in merged.cohort.photos()]
        assert len(set(ids)) == len(ids)
        assert all(person.photos and person.consent.purposes for person in merged.cohort.patients)
        assert take(merged.cohort, *merged.cohort.patients).cohort == merged.cohort
        held = merged.cohort


def test_a_store_that_is_replaced_while_it_is_read_is_read_whole(tmp_path: Path) -> None:
    folder = tmp_path / "cohort"
    crops = {shade: {p.id: np.full((112, 112, 3), shade, np.uint8) for _, p in HELD.photos()} for shade in (1, 2)}
    store.save(folder, HELD, crops[1])
    stop = threading.Event()

    def replace() -> None:
        while not stop.is_set():
            for shade in (2, 1):
                store.save(folder, HELD, crops[shade], replace=True)

    writer = threading.Thread(target=replace)
    writer.start()
    try:
        found = [store.load(folder) for _ in range(60)]
    finally:
        stop.set()
        writer.join()
    assert {len(set(np.unique(held.crops).tolist())) for held in found} == {1}
    assert [path.name for path in tmp_path.iterdir()] == ["cohort"]


def test_folders_change_places(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    if exchange(tmp_path / "a", tmp_path / "b"):
        assert os.listdir(tmp_path / "a") == ["b"]
    with pytest.raises(FileNotFoundError):
        exchange(tmp_path / "a", tmp_path / "missing")
