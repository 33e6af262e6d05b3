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


def bootstrap_interval(
    repetitions: Sequence[Repetition],
    *,
    generator: np.random.Generator,
    draws: int = 1000,
    level: float = 0.95,
) -> NDArray[np.float64]:
    """A percentile interval of the macro average when patients, and repetitions, are drawn anew.

    Patients are drawn with replacement within their syndrome, so that no syndrome drops out, and a patient keeps
    all of its probes together. Repetitions (splits, seeds) are drawn with replacement too.

    Returns:
        (2, K): lower and upper end for each column of ``hits``.
    """
    values = np.stack([_resampled(one, generator, draws) for one in repetitions])
    chosen = generator.integers(len(values), size=(draws, len(values)))
    means = values[chosen, np.arange(draws)[:, None]].mean(axis=1)
    tail = (1 - level) / 2
    return np.quantile(means, [tail, 1 - tail], axis=0)


@dataclass(frozen=True)
class Repetition:
    """The probes of one evaluation: ``hits`` (n, K) 0 or 1, ``labels`` (n,), ``patients`` (n,)."""

    hits: NDArray[np.float64]
    labels: NDArray[np.str_]
    patients: NDArray[np.str_]


def _resampled(one: Repetition, generator: np.random.Generator, draws: int) -> NDArray[np.float64]:
    """(draws, K): the macro average of each draw of patients."""
    total = np.zeros((draws, one.hits.shape[1]))
    labels = np.unique(one.labels)
    for label in labels:
        mine = one.labels == label
        _, index = np.unique(one.patients[mine], return_inverse=True)
        probes = np.bincount(index).astype(np.float64)
        sums = np.zeros((len(probes), one.hits.shape[1]))
        np.add.at(sums, index, one.hits[mine])
        chosen = generator.integers(len(probes), size=(draws, len(probes)))
        total += sums[chosen].sum(axis=1) / probes[chosen].sum(axis=1)[:, None]
    return total / len(labels)
