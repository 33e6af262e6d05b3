"""The encryptable scores, in clear, against sums written out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from common.errors import CohortError
from common.ranking.kernel import (
    Prototypes,
    linear,
    patients_per_syndrome,
    quadratic,
    rbf_coefficients,
    weighted_rows,
)


def unit(generator, rows, length):
    matrix = generator.normal(size=(rows, length))
    return (matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def panel():
    east = Prototypes(("a", "b"), np.array([[1, 0], [0, 1]]), np.array([3, 1]))
    west = Prototypes(("b", "c"), np.array([[1, 0], [0.6, 0.8]]), np.array([1, 2]))
    return [east, west]


def test_linear_score_weights_each_silo_by_its_patients(panel):
    scores = linear(np.array([[0.6, 0.8]], dtype=np.float32), panel, syndromes=["a", "b", "c"])
    assert scores.dtype == np.float32
    assert scores == pytest.approx(np.array([[0.6, (0.8 + 0.6) / 2, 1.0]]), abs=1e-6)


def test_syndrome_in_no_gallery_scores_nan(panel):
    query = np.array([[1, 0]], dtype=np.float32)
    for scores in (
        linear(query, panel, syndromes=["x", "a"]),
        quadratic(query, panel, syndromes=["x", "a"], coefficients=(1, 2, 3)),
    ):
        assert np.isnan(scores[0, 0])
        assert np.isfinite(scores[0, 1])


def test_linear_score_is_the_sum_of_what_each_silo_computes_alone():
    generator = np.random.default_rng(1)
    names = [f"s{number}" for number in range(20)]
    panel = [Prototypes(tuple(names[k : k + 9]), unit(generator, 9, 12), np.arange(1, 10)) for k in (0, 5, 11)]
    queries, totals = unit(generator, 4, 12), patients_per_syndrome(panel)
    parts = [queries @ weighted_rows(silo, syndromes=names, totals=totals).T for silo in panel]
    assert linear(queries, panel, syndromes=names) == pytest.approx(sum(parts), abs=1e-6)


def test_a_syndrome_may_stand_in_several_rows(panel):
    patients = Prototypes(("a", "a"), np.array([[1, 0], [0, 1]]), np.array([1, 1]))
    scores = linear(np.array([[0.6, 0.8]], dtype=np.float32), [patients], syndromes=["a"])
    assert scores == pytest.approx(np.array([[0.7]]), abs=1e-6)


def test_quadratic_score_is_the_weighted_polynomial_of_each_cosine(panel):
    scores = quadratic(
        np.array([[0.6, 0.8]], dtype=np.float32), panel, syndromes=["a", "b", "c"], coefficients=(1, 2, 3)
    )

    def polynomial(x):
        return 1 + 2 * x + 3 * x * x

    expected = [polynomial(0.6), (polynomial(0.8) + polynomial(0.6)) / 2, polynomial(1.0)]
    assert scores == pytest.approx(np.array([expected]), abs=1e-5)


def test_coefficients_come_close_to_the_gaussian_kernel():
    a0, a1, a2 = rbf_coefficients(0.5)
    cosines = np.linspace(-0.3, 1, 200)
    assert np.abs(a0 + a1 * cosines + a2 * cosines**2 - np.exp(cosines - 1)).max() < 1e-2


@pytest.mark.parametrize(
    ("syndromes", "matrix", "counts", "said"),
    [
        (("a",), np.eye(2), [1, 1], "matrix"),
        (("a", "b"), np.eye(2), [1], "counts"),
        (("a", "b"), np.array([[1, 0], [0, 2]]), [1, 1], "b is not of unit norm"),
        (("a", "b"), np.array([[1, 0], [np.nan, 1]]), [1, 1], "b is not of unit norm"),
        (("a", "b"), np.eye(2), [1, 0], "no patient"),
    ],
)
def test_prototypes_that_do_not_fit_are_refused(syndromes, matrix, counts, said):
    with pytest.raises(CohortError, match=said):
        Prototypes(syndromes, matrix, np.array(counts))
