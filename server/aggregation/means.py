"""Federated averaging (McMahan et al. 2017), weighted by patients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from common.records import Parameters, Update


def weighted_mean(updates: Sequence[Update], *, patient_cap: int | None = None) -> Parameters:
    """The mean delta: sum of w_k delta_k / sum of w_k, w_k the patients of silo k, at most ``patient_cap``.

    Summed in float64 and in the order of the silos' UTF-8 names, so that the result does not depend on who
    replied first.

    Raises:
        ValueError: fewer than two updates; one hospital is never aggregated alone.
    """
    if len({update.silo for update in updates}) < 2:
        raise ValueError("a mean needs the updates of at least two silos")
    ordered = sorted(updates, key=lambda update: update.silo.encode())
    weights = [min(update.patients, patient_cap or update.patients) for update in ordered]
    total = float(sum(weights))
    mean = {}
    for name in sorted(ordered[0].delta):
        accumulated = np.zeros(ordered[0].delta[name].shape, dtype=np.float64)
        for update, weight in zip(ordered, weights, strict=True):
            accumulated += (weight / total) * update.delta[name].astype(np.float64)
        mean[name] = np.asarray(accumulated, dtype=np.float32)
    return mean
