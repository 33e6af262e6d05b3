"""From photos to one unit vector a patient: what is averaged, and what each model of an ensemble counts."""

from __future__ import annotations

import numpy as np
import pytest

from common.ranking.patients import Encodings, patient_embeddings, photo_embeddings, restrict, unit

PHOTOS = ("a1", "a2", "b1")
OWNER = {"a1": "a", "a2": "a", "b1": "b"}


def encodings(seed: int = 0, models: int = 1) -> Encodings:
    vectors = unit(np.random.default_rng(seed).normal(size=(3, models, 2, 8))).astype(np.float32)
    return Encodings(PHOTOS, vectors, tuple(f"m{i}" for i in range(models)), ((0, 0), (1, 0)))


def test_a_patient_is_the_unit_mean_of_views_and_photos() -> None:
    given = encodings()
    patients = patient_embeddings(given, OWNER)
    by_hand = unit(unit(given.vectors[:2, 0].mean(axis=1)).sum(axis=0))
    assert patients.ids == ("a", "b")
    assert np.allclose(patients.rows(["a"])[0], by_hand, atol=1e-6)
    assert np.allclose(np.linalg.norm(patients.matrix, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_a_cosine_of_an_ensemble_is_its_shares_mean_of_cosines(share: float) -> None:
    one, two = encodings(1), encodings(2)
    both = photo_embeddings(one.with_models_of(two, share=share)).matrix
    alone = [photo_embeddings(single).matrix for single in (one, two)]
    expected = (1 - share) * alone[0] @ alone[0].T + share * alone[1] @ alone[1].T
    assert np.allclose(both @ both.T, expected, atol=1e-6)


def test_models_count_alike_unless_told_otherwise() -> None:
    given = encodings(models=3)
    assert given.shares == pytest.approx((1 / 3,) * 3)
    assert restrict(given.with_models_of(encodings(5), share=0.4), ["b1"]).shares[-1] == pytest.approx(0.4)


@pytest.mark.parametrize("shares", [(0.5,), (0.7, 0.7), (1.5, -0.5)])
def test_shares_that_divide_no_cosine_are_refused(shares: tuple[float, ...]) -> None:
    given = encodings(models=2)
    with pytest.raises(ValueError, match="shares"):
        Encodings(given.photo_ids, given.vectors, given.models, given.views, shares)


def test_an_ensemble_needs_the_same_photos() -> None:
    with pytest.raises(ValueError, match="same photos"):
        encodings().with_models_of(restrict(encodings(), ["a1"]))
