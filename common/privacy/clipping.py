"""Clipping an update to a Euclidean norm, as a bound on what one hospital can say at once."""

from __future__ import annotations

import numpy as np

from common.records import Parameters, norm

_SHORTER = 1 - 2**-24


def clipped(delta: Parameters, bound: float) -> Parameters:
    """``delta`` where its norm is at most ``bound``, the same arrays; else scaled to it, float32, shapes kept.

    All parameters are scaled alike, in float64, so that the direction stays. The norm of what comes back is at
    most ``bound`` as ``common.records.norm`` measures it, rounding included; the same delta gives the same bits.

    Raises:
        ValueError: the norm is not finite.
    """
    length = norm(delta)
    if not np.isfinite(length):
        raise ValueError("a parameter is not finite")
    if length <= bound:
        return delta
    factor = bound / length
    while True:
        scaled = {path: _scaled(value, factor) for path, value in delta.items()}
        if norm(scaled) <= bound:
            return scaled
        # Rounding to float32 may lengthen it by a hair, which a gate at the same bound would refuse.
        factor *= _SHORTER


def _scaled(value: np.ndarray, factor: float) -> np.ndarray:
    return np.asarray(value.astype(np.float64) * factor, dtype=np.float32)
