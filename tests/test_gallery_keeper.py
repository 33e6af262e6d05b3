"""The galleries of a silo from epoch to epoch: rows, counts, withdrawals, and what subtracting epochs shows."""

from __future__ import annotations

import datetime
import stat
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import pytest

from client.gallery import opening as gallery_opening
from client.gallery.gallery import Gallery
from client.gallery.keeper import GalleryKeeper
from common.cohort.schema import Cohort, Consent, Patient, Purpose
from common.consortium.counts import Totals
from common.errors import AgentError, CohortError, DisclosureError, RunError
from common.privacy.disclosure import OPEN, STANDARD
from common.privacy.gallery_rule import Change
from common.ranking.kernel import Prototypes, linear, quadratic
from common.ranking.patients import Embeddings, unit

S, D = 64, 16
FIRST, SECOND = "11" * 32, "22" * 32


def vector(patient: str) -> np.ndarray:
    """(D,) a patient's embedding, the same in every epoch."""
    return unit(np.random.default_rng([ord(letter) for letter in patient]).normal(size=D)).astype(np.float32)


def propose(
    keeper: GalleryKeeper,
    number: int,
    rows: Mapping[int, Collection[str]],
    *,
    release: str = FIRST,
    alone: Collection[str] = (),
    turned: Collection[str] = (),
) -> Gallery:
    """``turned``: patients whose embedding changed, as a new photo would change it."""
    places = {patient: row for row, patients in rows.items() for patient in patients}
    matrix = np.array([vector(patient) * (-1 if patient in turned else 1) for patient in places])
    embeddings = Embeddings(tuple(places), matrix.reshape(-1, D).astype(np.float32))
    return keeper.propose(number, embeddings, places, release=release, rows=S, alone=alone)


def mean(patients: Collection[str]) -> np.ndarray:
    return unit(np.sum([vector(patient) for patient in patients], axis=0, dtype=np.float64))


def totals(*galleries: Gallery, others: int = 0) -> Totals:
    """Sums over silos; ``others``: patients of one more silo in each row."""
    parts = [gallery.counts for gallery in galleries]
    return Totals(
        sum(part.patients for part in parts) + others,
        sum(part.holders for part in parts) + (others > 0),
        sum(part.vetoes for part in parts),
        sum(part.alone for part in parts) + np.zeros(S, dtype=np.int64),
    )


@pytest.fixture
def keeper(tmp_path: Path) -> GalleryKeeper:
    return GalleryKeeper(tmp_path, new=True)


def test_rows_are_the_formulas(keeper: GalleryKeeper, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    other = GalleryKeeper(tmp_path / "b", new=True)
    here, there = {0: "abcd", 2: "e"}, {0: "fg", 2: "hij", 5: "klm"}
    galleries = [propose(keeper, 1, here), propose(other, 1, there)]
    summed = totals(*galleries)
    query = vector("query")[None]

    syndromes = [str(row) for row in range(S)]
    means, singles = [], []
    for rows in (here, there):
        keys = tuple(str(row) for row in rows)
        counts = np.array([len(patients) for patients in rows.values()])
        means.append(Prototypes(keys, np.array([mean(patients) for patients in rows.values()]), counts))
        everyone = [(str(row), patient) for row, patients in rows.items() for patient in patients]
        singles.append(
            Prototypes(
                tuple(row for row, _ in everyone),
                np.array([vector(patient) for _, patient in everyone]),
                np.ones(len(everyone), dtype=np.int64),
            )
        )

    expected = linear(query, means, syndromes=syndromes)[0]
    scores = sum(gallery.prototype_rows(summed, STANDARD) for gallery in galleries) @ query[0].astype(np.float64)
    answered = np.flatnonzero(summed.patients)
    assert answered.tolist() == [0, 2, 5]
    assert np.allclose(scores[answered], expected[answered], atol=1e-6)
    assert not np.any(np.delete(scores, answered))

    expected = quadratic(query, singles, syndromes=syndromes, coefficients=(0.1, 0.5, 0.4))[0]
    scores = np.zeros(S)
    for gallery in galleries:
        part = gallery.patient_rows(summed, STANDARD)
        cosines = part.matrix @ query[0].astype(np.float64)
        np.add.at(scores, part.places, part.weights * (0.1 + 0.5 * cosines + 0.4 * cosines**2))
    assert np.allclose(scores[answered], expected[answered], atol=1e-6)


def test_counts_are_those_of_the_sets_served(keeper: GalleryKeeper) -> None:
    counts = propose(keeper, 1, {0: "abcd", 3: "e"}, alone="ae").counts
    assert (counts.patients[0], counts.patients[3], counts.patients.sum()) == (4, 1, 5)
    assert (counts.holders[0], counts.holders.sum(), counts.vetoes.sum()) == (1, 2, 0)
    assert (counts.alone[0], counts.alone[3]) == (1, 1)


def test_below_the_floor_no_row_leaves_and_open_serves_who_agreed(keeper: GalleryKeeper) -> None:
    gallery = propose(keeper, 1, {0: "abcd", 3: "e", 4: "f"}, alone="e")
    summed = totals(gallery)
    assert np.flatnonzero(gallery.prototype_rows(summed, STANDARD).any(axis=1)).tolist() == [0]
    assert np.flatnonzero(gallery.prototype_rows(summed, OPEN).any(axis=1)).tolist() == [0, 3]
    assert np.allclose(gallery.prototype_rows(summed, OPEN)[3], vector("e"), atol=1e-6)
    assert set(gallery.patient_rows(summed, STANDARD).places) == {0}


def test_another_silos_veto_empties_the_row_here_too(keeper: GalleryKeeper) -> None:
    gallery = propose(keeper, 1, {0: "abcd"})
    summed = totals(gallery, others=3)
    summed.vetoes[0] = 1
    assert not gallery.prototype_rows(summed, STANDARD).any()


def test_totals_of_another_gallery_are_refused(keeper: GalleryKeeper) -> None:
    gallery = propose(keeper, 1, {0: "abcd"})
    nothing = np.zeros(S, dtype=np.int64)
    with pytest.raises(DisclosureError, match="not those of gallery epoch 1"):
        gallery.prototype_rows(Totals(nothing, nothing, nothing, nothing), STANDARD)


def test_additions_wait_until_there_are_three(keeper: GalleryKeeper) -> None:
    first = propose(keeper, 1, {0: "abcd"})
    for number, current in ((2, "abcde"), (3, "abcdef")):
        assert propose(keeper, number, {0: current}).tokens == first.tokens
    assert len(propose(keeper, 4, {0: "abcdefg"}).tokens) == 7


def test_a_syndrome_taken_up_later_starts_with_three(keeper: GalleryKeeper) -> None:
    propose(keeper, 1, {0: "abcd"})
    assert set(propose(keeper, 2, {0: "abcd", 7: "xy"}).places) == {0}
    assert set(propose(keeper, 3, {0: "abcd", 7: "xyz"}).places) == {0, 7}


def test_a_silo_that_began_with_nobody_starts_with_three(keeper: GalleryKeeper) -> None:
    propose(keeper, 1, {})
    assert not propose(keeper, 2, {0: "ab"}).tokens
    assert len(propose(keeper, 3, {0: "abc"}).tokens) == 3


def test_a_photo_more_changes_no_row(keeper: GalleryKeeper) -> None:
    first = propose(keeper, 1, {0: "abcd"})
    second = propose(keeper, 2, {0: "abcd"}, turned="a")
    assert np.array_equal(first.matrix, second.matrix)


def test_a_new_release_builds_everything_anew_and_an_old_one_finds_its_past(keeper: GalleryKeeper) -> None:
    propose(keeper, 1, {0: "abcd"})
    assert len(propose(keeper, 2, {0: "abcde"}, release=SECOND).tokens) == 5
    back = propose(keeper, 3, {0: "abcdef"})
    assert len(back.tokens) == 4
    keeper.withdraw("a")
    assert propose(keeper, 4, {0: "bcdef"}, release=SECOND).vetoed == {0}


def test_a_withdrawal_closes_the_row_at_once_and_vetoes_it_until_three_changed(keeper: GalleryKeeper) -> None:
    first = propose(keeper, 1, {0: "abcd", 1: "xyz"})
    before = totals(first)
    assert keeper.withdraw("a") == {1: {0}}
    now = keeper.gallery(1)
    assert np.flatnonzero(now.prototype_rows(before, STANDARD).any(axis=1)).tolist() == [1]
    assert set(now.patient_rows(before, STANDARD).places) == {1}
    for number, current in ((2, "bcd"), (3, "bcde")):
        vetoed = propose(keeper, number, {0: current, 1: "xyz"})
        assert vetoed.vetoed == {0}
        assert vetoed.counts.vetoes[0] == 1
        assert vetoed.counts.patients[0] == 0
    rebuilt = propose(keeper, 4, {0: "bcdef", 1: "xyz"})
    assert not rebuilt.vetoed
    assert rebuilt.counts.patients[0] == 5


def test_a_row_closed_before_its_counts_were_made_is_a_veto(keeper: GalleryKeeper) -> None:
    propose(keeper, 1, {0: "abcd"})
    keeper.withdraw("a")
    counts = propose(keeper, 1, {0: "abcd"}).counts
    assert (counts.patients[0], counts.vetoes[0]) == (0, 1)


def test_who_withdraws_and_comes_back_does_not_reopen_the_row(keeper: GalleryKeeper) -> None:
    propose(keeper, 1, {0: "abcd"})
    keeper.withdraw("a")
    assert propose(keeper, 2, {0: "abcd"}, turned="a").vetoed == {0}
    assert propose(keeper, 3, {0: "abcdx"}).vetoed == {0}


def test_both_live_epochs_close(keeper: GalleryKeeper) -> None:
    propose(keeper, 1, {0: "abcd"})
    propose(keeper, 2, {0: "abcd"})
    assert keeper.withdraw("a") == {1: {0}, 2: {0}}
    assert keeper.withdraw("a") == {}


def test_a_withdrawal_leaves_no_embedding_of_the_row_on_disk(keeper: GalleryKeeper, tmp_path: Path) -> None:
    propose(keeper, 1, {0: "abcd", 1: "xyz"})
    kept = tmp_path / "gallery.safetensors"
    assert vector("a").tobytes() in kept.read_bytes()
    keeper.withdraw("a")
    for patient in "abcd":
        assert vector(patient).tobytes() not in kept.read_bytes()
    assert vector("x").tobytes() in kept.read_bytes()


def test_the_file_is_private_and_names_no_patient(keeper: GalleryKeeper, tmp_path: Path) -> None:
    propose(keeper, 1, {0: ["patient-0001", "patient-0002"]})
    (kept,) = tmp_path.iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert b"patient-" not in kept.read_bytes()


def test_an_expired_consent_closes_the_row(keeper: GalleryKeeper) -> None:
    until = datetime.date(2026, 5, 1)
    purposes = frozenset({Purpose.MATCH})
    cohort = Cohort(
        name="c",
        patients=tuple(
            Patient(
                id=patient,
                photos=(),
                consent=Consent(purposes=purposes, expires=until if patient == "b" else None),
            )
            for patient in "abcxyz"
        ),
        syndromes=(),
    )
    propose(keeper, 1, {0: "abc", 1: "xyz"})

    def allowed(day: datetime.date) -> list[str]:
        return [patient.id for patient in cohort.for_purpose(Purpose.MATCH, day).patients]

    assert keeper.close_for(allowed(until), alone=()) == {}
    assert keeper.close_for(allowed(until + datetime.timedelta(days=1)), alone=()) == {1: {0}}
    assert keeper.gallery(1).closed == {0}


def test_taking_back_the_agreement_to_stand_alone_closes_the_row(keeper: GalleryKeeper) -> None:
    propose(keeper, 1, {0: "a", 1: "b"}, alone="ab")
    assert keeper.close_for("ab", alone="b") == {1: {0}}


def test_an_epoch_proposed_again_is_the_same_after_a_restart(keeper: GalleryKeeper, tmp_path: Path) -> None:
    first = propose(keeper, 1, {0: "abcd", 1: "e"}, alone="e")
    again = GalleryKeeper(tmp_path)
    second = propose(again, 1, {0: "xyzuvw"})
    assert second.tokens == first.tokens
    assert np.array_equal(second.matrix, first.matrix)
    assert np.array_equal(second.alone, first.alone)
    assert propose(again, 2, {0: "abcde", 1: "e"}).tokens == first.tokens


def test_a_withdrawal_survives_a_restart(keeper: GalleryKeeper, tmp_path: Path) -> None:
    propose(keeper, 1, {0: "abcd"})
    keeper.withdraw("a")
    again = GalleryKeeper(tmp_path)
    assert again.gallery(1).closed == {0}
    assert propose(again, 2, {0: "bcd"}).vetoed == {0}


def test_an_epoch_before_the_newest_is_refused(keeper: GalleryKeeper) -> None:
    propose(keeper, 5, {0: "abcd"})
    with pytest.raises(DisclosureError, match="epoch 4 comes after epoch 5"):
        propose(keeper, 4, {0: "abcd"})
    with pytest.raises(AgentError, match="no gallery epoch 4"):
        keeper.gallery(4)


def test_a_gallery_that_could_not_be_stored_is_not_served(
    keeper: GalleryKeeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    propose(keeper, 1, {0: "abcd"})
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", _full)
        with pytest.raises(RunError):
            propose(keeper, 2, {0: "abcdefg"})
        # What withdraws is closed even so.
        with pytest.raises(RunError):
            keeper.withdraw("a")
    with pytest.raises(AgentError):
        keeper.gallery(2)
    assert keeper.gallery(1).closed == {0}


def _full(*_: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("content", [b"", b"\xff" * 200, b"cut"])
def test_a_damaged_file_is_one_clear_error(keeper: GalleryKeeper, tmp_path: Path, content: bytes) -> None:
    propose(keeper, 1, {0: "abcd"})
    kept = tmp_path / "gallery.safetensors"
    kept.write_bytes(kept.read_bytes()[:-40] if content == b"cut" else content)
    with pytest.raises(AgentError, match=r"is damaged.*next release"):
        GalleryKeeper(tmp_path)


def test_a_missing_file_is_not_made_anew_by_itself(keeper: GalleryKeeper, tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="exists already"):
        GalleryKeeper(tmp_path, new=True)
    (tmp_path / "gallery.safetensors").unlink()
    with pytest.raises(AgentError, match="is missing"):
        GalleryKeeper(tmp_path)


@pytest.mark.parametrize("rows", [{S: "abc"}, {-1: "abc"}])
def test_a_row_that_there_is_not_is_refused(keeper: GalleryKeeper, rows: dict[int, str]) -> None:
    with pytest.raises(CohortError, match="none of 64 rows"):
        propose(keeper, 1, rows)


STORIES = {
    "one added": ["abcd", "abcde"],
    "two added": ["abcd", "abcdef"],
    "one withdrew": ["abcd", "abc"],
    "one for another": ["abcd", "abce"],
    "added in two steps": ["abcd", "abcdefg", "abcdefgh"],
    "back but for one": ["abcd", "abcdefg", "abcdx"],
    "taken up": ["", "a"],
}


def recovered(keeper: GalleryKeeper, sets: list[str]) -> float:
    """The best cosine with any patient that a querier gets by subtracting any two epochs, knowing all weights.

    The querier asked every question there is, and knows every other silo's part: it holds the rows themselves.
    """
    rows = []
    for number, current in enumerate(sets, start=1):
        if number > 1:
            for gone in set(sets[number - 2]) - set(current):
                keeper.withdraw(gone)
        gallery = propose(keeper, number, {0: current})
        summed = totals(gallery, others=5)
        rows.append(gallery.prototype_rows(summed, STANDARD)[0] * summed.patients[0])
    lengths = {
        frozenset(current): float(np.linalg.norm(sum((vector(p) for p in current), np.zeros(D))))
        for current in sets
    }
    best = 0.0
    for later in rows:
        for earlier in rows:
            # A prototype is of unit length: the attacker guesses the length of the sum that it came from.
            for scale in lengths.values():
                for other in lengths.values():
                    difference = unit(unit(later) * scale - unit(earlier) * other)
                    if later.any() and earlier.any() and np.linalg.norm(unit(later) - unit(earlier)) > 1e-9:
                        best = max(best, *(abs(float(difference @ vector(p))) for p in set("".join(sets))))
    return best


@pytest.mark.parametrize("story", STORIES)
def test_subtracting_epochs_recovers_no_patient(keeper: GalleryKeeper, story: str) -> None:
    assert recovered(keeper, STORIES[story]) < 0.95


@pytest.mark.parametrize("story", ["one added", "one withdrew", "added in two steps", "back but for one"])
def test_without_the_rule_it_does(keeper: GalleryKeeper, story: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery_opening, "change", lambda *_, **__: Change.REBUILD)
    assert recovered(keeper, STORIES[story]) > 0.99


@pytest.mark.parametrize("seed", range(10))
def test_over_random_histories_served_sets_differ_by_none_or_by_at_least_three(
    keeper: GalleryKeeper, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    current = set("abcdefgh")
    served: list[frozenset[str]] = []
    for number in range(1, 13):
        gallery = propose(keeper, number, {0: sorted(current)})
        if gallery.tokens:
            served.append(frozenset(gallery.tokens))
        assert all(len(one ^ other) == 0 or len(one ^ other) >= 3 for one in served for other in served)
        for letter in rng.choice(list("abcdefghijklmnop"), size=rng.integers(0, 4), replace=False):
            if letter in current and len(current) > 1:
                current.remove(str(letter))
                keeper.withdraw(str(letter))
                assert not gallery.tokens or keeper.gallery(number).closed or letter not in served[-1]
            else:
                current.add(str(letter))
    assert served
