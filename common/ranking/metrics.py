"""Accuracy as the field reports it: top-k macro-averaged over syndromes, with intervals over patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TOP = (1, 5, 10, 30)


def ranks(scores: NDArray[np.floating], truth: NDArray[np.int64]) -> NDArray[np.int64]:
    """The place of the true syndrome, from 1; equal scores rank in column order.

    Args:
        scores: (p, S), higher is better; NaN (no gallery for that syndrome) ranks last.
        truth: (p,) column of the true syndrome.
    """
    filled = np.where(np.isnan(scores), -np.inf, scores)
    own = filled[np.arange(len(truth)), truth]
    before = np.arange(scores.shape[1]) < truth[:, None]
    ahead = (filled > own[:, None]) | ((filled == own[:, None]) & before)
    return ahead.sum(axis=1) + 1


def macro_top(ranks: Sequence[int] | NDArray[np.int64], labels: Sequence[str], k: int) -> float:
    """Fraction of probes with rank <= k, averaged over syndromes; NaN without probes."""
    hits = np.asarray(ranks) <= k
    names, index = np.unique(np.asarray(labels), return_inverse=True)
    if not len(names):
        return float("nan")
    return float((np.bincount(index, weights=hits) / np.bincount(index)).mean())


@dataclass(frozen=True)
class Repetition:
    """The probes of one evaluation: ``hits`` (n, K) 0 or 1, ``labels`` (n,), ``patients`` (n,)."""

    hits: NDArray[np.float64]
    labels: NDArray[np.str_]
    patients: NDArray[np.str_]


def bootstrap_interval(
    repetitions: Sequence[Repetition],
    *,
    generator: np.random.Generator,
    draws: int = 1000,
    level: float = 0.95,
) -> NDArray[np.float64]:
    """A percentile interval of the macro average when patients, and repetitions, are drawn anew.

    Patients are drawn with replacement within their syndrome, once for all repetitions: splits and seeds ask with
    the same patients, and to draw them apart would make the interval too narrow. A patient keeps all of its probes
    together. Repetitions (splits, seeds) are drawn with replacement too.

    Returns:
        (2, K): lower and upper end for each column of ``hits``.
    """
    counts = _patient_counts(repetitions, generator, draws)
    values = np.stack([_weighted(one, counts, draws) for one in repetitions])
    chosen = generator.integers(len(values), size=(draws, len(values)))
    picked = values[chosen, np.arange(draws)[:, None]]
    known = ~np.isnan(picked)
    sums = np.where(known, picked, 0).sum(axis=1)
    means = np.where(known.any(axis=1), sums / np.maximum(known.sum(axis=1), 1), np.nan)
    tail = (1 - level) / 2
    return np.nanquantile(means, [tail, 1 - tail], axis=0)


def _patient_counts(
    repetitions: Sequence[Repetition], generator: np.random.Generator, draws: int
) -> dict[str, NDArray[np.float64]]:
    """How often each patient is drawn, (draws,) by patient."""
    syndrome_of = {
        patient: label
        for one in repetitions
        for patient, label in zip(one.patients.tolist(), one.labels.tolist(), strict=True)
    }
    counts: dict[str, NDArray[np.float64]] = {}
    for label in sorted(set(syndrome_of.values())):
        mine = sorted(patient for patient, own in syndrome_of.items() if own == label)
        drawn = generator.multinomial(len(mine), [1 / len(mine)] * len(mine), size=draws)
        counts |= {patient: drawn[:, column].astype(np.float64) for column, patient in enumerate(mine)}
    return counts


def _weighted(one: Repetition, counts: dict[str, NDArray[np.float64]], draws: int) -> NDArray[np.float64]:
    """(draws, K): the macro average of each draw over the syndromes of which a patient was drawn."""
    total = np.zeros((draws, one.hits.shape[1]))
    present = np.zeros((draws, 1))
    for label in np.unique(one.labels):
        mine = one.labels == label
        weights = np.stack([counts[patient] for patient in one.patients[mine].tolist()], axis=1)
        asked = weights.sum(axis=1, keepdims=True)
        total += np.where(asked > 0, weights @ one.hits[mine] / np.maximum(asked, 1), 0)
        present += asked > 0
    return np.where(present > 0, total / np.maximum(present, 1), np.nan)
