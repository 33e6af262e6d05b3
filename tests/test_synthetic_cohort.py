"""The synthetic cohort: long-tailed classes, hospitals that differ, and a protocol that never mixes patients."""

from __future__ import annotations

from collections import Counter
from functools import cache

import numpy as np
import pytest
from pydantic import ValidationError

from common.cohort.schema import HPO_ID, Purpose
from common.cohort.splits import Setting
from common.errors import ConfigError
from common.storage import sha256_bytes
from simulations.synthetic import SyntheticCohort, SyntheticSpec, make

SMALL = {"syndromes": 8, "rare_share": 0.4, "patients": 70, "photos_per_patient": 1.3, "silos": 3}


@cache
def drawn(case_mix: str = "uniform", seed: int = 0) -> SyntheticCohort:
    return make(SyntheticSpec(**SMALL, case_mix=case_mix), seed)


def _mix(made: SyntheticCohort) -> np.ndarray:
    """Training patients by silo and syndrome, (silos, syndromes), each syndrome's shares over the silos."""
    protocol = made.protocol
    silos = sorted(set(protocol.silo_of.values()))
    pairs = {(protocol.silo_of[i], protocol.label_of[i], protocol.patient_of[i]) for i in protocol.train}
    labels = sorted({label for _, label, _ in pairs})
    count = Counter((silo, label) for silo, label, _ in pairs)
    table = np.array([[count[silo, label] for label in labels] for silo in silos], dtype=float)
    return table / table.sum(0)


def test_the_same_seed_draws_the_same_cohort() -> None:
    again = make(SyntheticSpec(**SMALL), 0)
    assert again.cohort == drawn().cohort
    assert again.protocol == drawn().protocol
    assert all(np.array_equal(again.crops[photo], crop) for photo, crop in drawn().crops.items())
    assert drawn(seed=1).cohort != drawn().cohort


def test_a_patient_stays_the_same_when_the_cohort_grows() -> None:
    # More patients move silos, and with them cameras; with one silo every photo is the same to the bit.
    spec = SyntheticSpec(syndromes=3, rare_share=0, patients=24, silos=1)
    few, more = make(spec, 3), make(spec.model_copy(update={"patients": 30}), 3)
    assert set(few.crops) < set(more.crops)
    assert all(np.array_equal(crop, more.crops[photo]) for photo, crop in few.crops.items())


def test_class_sizes_are_long_tailed() -> None:
    made = drawn()
    sizes = Counter(patient.syndrome for patient in made.cohort.patients)
    assert sum(sizes.values()) == 70
    assert len(sizes) == 8
    frequent = sorted(size for size in sizes.values() if size > 6)
    rare = [size for size in sizes.values() if size <= 6]
    assert len(rare) == 3
    assert min(rare) >= 2
    assert frequent[-1] >= 1.8 * frequent[0]
    labelled = made.protocol.label_of
    assert {labelled[i] for i in made.protocol.train} == {key for key, size in sizes.items() if size > 6}


def test_patients_stand_on_one_side_only() -> None:
    protocol = drawn().protocol
    people = protocol.patient_of
    train, val, test = (
        {people[i] for i in part} for part in (protocol.train, protocol.val, protocol.frequent_test)
    )
    assert not train & val
    assert not (train | val) & test
    assert {people[i] for i in protocol.frequent_gallery} == train | val
    for setting in Setting:
        for probes, gallery in protocol.galleries(setting):
            assert probes
            assert gallery
            assert not {people[i] for i in probes} & {people[i] for i in gallery}


def test_every_photo_has_its_role_label_and_silo() -> None:
    made = drawn()
    photos = {photo.id for _, photo in made.cohort.photos()}
    protocol = made.protocol
    assert photos == set(made.crops) == set(protocol.label_of) == set(protocol.silo_of) == set(protocol.patient_of)
    first = protocol.rare[0]
    used = set(protocol.frequent_gallery + protocol.frequent_test + first.test + first.gallery)
    assert used == photos
    assert set(protocol.silo_of.values()) == {"silo-1", "silo-2", "silo-3"}
    for patient in made.cohort.patients:
        assert len({protocol.silo_of[photo.id] for photo in patient.photos}) == 1
        assert all(protocol.label_of[photo.id] == patient.syndrome for photo in patient.photos)


def test_every_frequent_syndrome_is_trained_checked_and_asked() -> None:
    protocol = drawn().protocol
    parts = [
        {protocol.label_of[i] for i in part} for part in (protocol.train, protocol.val, protocol.frequent_test)
    ]
    assert parts[0] == parts[1] == parts[2]


def test_ten_rare_splits_divide_the_rare_patients_anew() -> None:
    protocol = drawn().protocol
    assert len(protocol.rare) == 10
    everyone = set(protocol.rare[0].test + protocol.rare[0].gallery)
    labels = {protocol.label_of[i] for i in everyone}
    for split in protocol.rare:
        assert set(split.test + split.gallery) == everyone
        assert {protocol.label_of[i] for i in split.test} == labels
        assert {protocol.label_of[i] for i in split.gallery} == labels
    assert len({split.test for split in protocol.rare}) > 1


def test_without_rare_syndromes_there_are_no_rare_splits() -> None:
    made = make(SyntheticSpec(syndromes=2, rare_share=0, patients=14, photos_per_patient=1, silos=1), 0)
    assert made.protocol.rare == ()


def test_uniform_hospitals_share_every_syndrome_evenly() -> None:
    shares = _mix(drawn("uniform"))
    assert np.abs(shares - 1 / 3).max() < 0.2


def test_site_hospitals_differ_in_case_mix() -> None:
    uneven, even = _mix(drawn("site")), _mix(drawn("uniform"))
    assert uneven.std() > 1.5 * even.std()
    assert ((uneven > 0).sum(1) >= 2).all()


def test_disjoint_hospitals_share_no_syndrome() -> None:
    protocol = drawn("disjoint").protocol
    homes: dict[str, set[str]] = {}
    for photo, silo in protocol.silo_of.items():
        homes.setdefault(protocol.label_of[photo], set()).add(silo)
    assert all(len(silos) == 1 for silos in homes.values())
    assert {protocol.silo_of[i] for i in protocol.train} == {"silo-1", "silo-2", "silo-3"}


def test_case_mix_moves_patients_but_does_not_redraw_them() -> None:
    assert {p.id: (p.hpo_present, p.age_years, p.sex) for p in drawn("site").cohort.patients} == {
        p.id: (p.hpo_present, p.age_years, p.sex) for p in drawn("uniform").cohort.patients
    }


def test_hospitals_differ_in_camera() -> None:
    made = make(SyntheticSpec(**SMALL, camera_spread=2.0), 0)
    means: dict[str, list[np.ndarray]] = {}
    for photo, silo in made.protocol.silo_of.items():
        means.setdefault(silo, []).append(made.crops[photo].reshape(-1, 3).mean(0))
    ratio = [np.mean(rows, 0)[0] / np.mean(rows, 0)[2] for rows in means.values()]
    alike = make(SyntheticSpec(**SMALL, camera_spread=0.0), 0)
    assert max(ratio) / min(ratio) > 1.05
    assert any(not np.array_equal(made.crops[photo], alike.crops[photo]) for photo in made.crops)


def test_records_are_complete_and_consent_covers_everything() -> None:
    made = drawn()
    keys = {syndrome.key: syndrome for syndrome in made.cohort.syndromes}
    assert all(syndrome.identifiers == (syndrome.key,) for syndrome in keys.values())
    for patient in made.cohort.patients:
        assert patient.syndrome in keys
        assert "OMIM" not in patient.id
        assert patient.consent.purposes == frozenset(Purpose)
        assert patient.ancestry == "synthetic"
        assert patient.sex in ("female", "male")
        assert patient.age_years is not None
        assert not set(patient.hpo_present) & set(patient.hpo_absent)
        assert patient.hpo_present or patient.hpo_absent
        assert all(HPO_ID.match(term) for term in patient.hpo_present + patient.hpo_absent)
        for photo in patient.photos:
            crop = made.crops[photo.id]
            assert crop.shape == (112, 112, 3)
            assert crop.dtype == np.uint8
            assert photo.sha256 == sha256_bytes(crop.tobytes())
            assert photo.landmarks is not None
            assert not photo.path.is_absolute()


def test_severity_and_penetrance_shape_the_terms_shown() -> None:
    shown = [len(patient.hpo_present) for patient in drawn().cohort.patients]
    assert len(set(shown)) > 3
    silent = make(SyntheticSpec(syndromes=2, rare_share=0, patients=14, silos=1, penetrance=0), 0)
    assert np.mean([len(patient.hpo_present) for patient in silent.cohort.patients]) < 1.5


@pytest.mark.parametrize(
    ("keys", "remedy"),
    [
        ({"syndromes": 10, "patients": 40}, "patients to at least"),
        ({"syndromes": 6, "rare_share": 0.5, "silos": 4, "case_mix": "disjoint", "patients": 60}, "fewer silos"),
    ],
)
def test_impossible_cohorts_are_refused_with_a_remedy(keys: dict[str, object], remedy: str) -> None:
    from common.config import parse

    with pytest.raises(ConfigError, match=remedy):
        parse(keys, SyntheticSpec, origin="scenario.yaml")
    with pytest.raises(ValidationError):
        SyntheticSpec(**keys)
