"""Intervals: wide where few patients are asked, however often they are asked again."""

from __future__ import annotations

import numpy as np
import pytest

from common.ranking.metrics import Repetition, bootstrap_interval, macro_top, ranks


def repetition(seed: int, patients: int, hit: float) -> Repetition:
    rng = np.random.default_rng(seed)
    labels = np.array([f"s{index % 5}" for index in range(patients)])
    hits = (rng.random((patients, 1)) < hit).astype(np.float64)
    return Repetition(hits, labels, np.array([f"p{index}" for index in range(patients)]))


def width(repetitions: list[Repetition]) -> float:
    low, high = bootstrap_interval(repetitions, generator=np.random.default_rng(0), draws=2000)[:, 0]
    return float(high - low)


def test_asking_the_same_patients_again_makes_nothing_more_certain() -> None:
    one = repetition(0, 40, 0.5)
    assert width([one] * 10) == pytest.approx(width([one]), rel=0.1)


def test_more_patients_make_it_more_certain() -> None:
    assert width([repetition(0, 400, 0.5)]) < 0.5 * width([repetition(0, 40, 0.5)])


def test_the_interval_is_about_as_wide_as_theory_says() -> None:
    # Five syndromes of forty patients each, half of them hit: standard error 0.5 / sqrt(200).
    expected = 2 * 1.96 * 0.5 / np.sqrt(200)
    assert width([repetition(1, 200, 0.5)]) == pytest.approx(expected, rel=0.15)


def test_certain_hits_have_no_width() -> None:
    assert width([repetition(0, 30, 1.1)]) == 0


def test_ranks_count_what_is_ahead_and_ties_in_column_order() -> None:
    scores = np.array([[0.5, 0.9, 0.5, np.nan], [0.1, 0.1, 0.1, 0.1]])
    assert ranks(scores, np.array([2, 3])).tolist() == [3, 4]
    assert ranks(scores, np.array([3, 0])).tolist() == [4, 1]


def test_macro_top_weighs_syndromes_and_not_probes() -> None:
    assert macro_top([1, 1, 1, 9], ["a", "a", "a", "b"], 1) == pytest.approx(0.5)
    assert np.isnan(macro_top([], [], 1))
