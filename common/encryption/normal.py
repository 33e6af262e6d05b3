"""Normal numbers that nobody can reproduce."""

from __future__ import annotations

import secrets

import numpy as np
import numpy.typing as npt


def system_normal(count: int) -> npt.NDArray[np.float64]:
    """(count,) standard normal numbers from the system's generator (Box and Muller 1958); never seeded."""
    words = np.frombuffer(secrets.token_bytes(16 * count), dtype="<u8").reshape(2, count)
    radius, angle = ((words >> np.uint64(11)) + 0.5) / 2.0**53
    return np.asarray(np.sqrt(-2 * np.log(radius)) * np.cos(2 * np.pi * angle))
