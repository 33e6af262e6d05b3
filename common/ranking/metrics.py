"""Accuracy as the field reports it: top-k macro-averaged over syndromes, with intervals over patients."""

from __future__ import annotations

from collections.abc import Sequence

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
    hits: Sequence[NDArray[np.floating]],
    labels: Sequence[NDArray[np.str_]],
    patients: Sequence[NDArray[np.str_]],
    *,
    generator: np.random.Generator,
    draws: int = 1000,
    level: float = 0.95,
) -> tuple[float, float]:
    """A percentile interval of the macro average when patients, and repetitions, are drawn anew.

    Args:
        hits, labels, patients: one array of probes for each repetition (seed or split); a patient keeps all
            of its probes together. Patients are drawn within their syndrome, so that no syndrome drops out;
            repetitions are drawn with replacement.
    """
    tables = [_patient_table(*columns) for columns in zip(hits, labels, patients, strict=True)]
    values = np.empty(draws)
    for draw in range(draws):
        chosen = generator.integers(len(tables), size=len(tables))
        values[draw] = np.mean([_resampled(tables[index], generator) for index in chosen])
    tail = (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def _patient_table(
    hits: NDArray[np.floating], labels: NDArray[np.str_], patients: NDArray[np.str_]
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """For each syndrome: sum of hits and number of probes of each patient."""
    table = []
    for label in np.unique(labels):
        mine = labels == label
        _, index = np.unique(patients[mine], return_inverse=True)
        sums = np.bincount(index, weights=hits[mine]).astype(np.float64)
        table.append((sums, np.bincount(index).astype(np.float64)))
    return table


def _resampled(
    table: list[tuple[NDArray[np.float64], NDArray[np.float64]]], generator: np.random.Generator
) -> float:
    values = []
    for sums, counts in table:
        chosen = generator.integers(len(sums), size=len(sums))
        values.append(sums[chosen].sum() / counts[chosen].sum())
    return float(np.mean(values))
