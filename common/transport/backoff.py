"""How long to wait before trying the relay again: exponential, with full jitter, up to a ceiling."""

from __future__ import annotations

import random


class Backoff:
    """Waits that double, each drawn between half of its bound and the bound.

    The jitter keeps all silos of a consortium from returning at the same moment after the relay restarts.

    Args:
        first, ceiling: bounds in seconds.
        rng: drawn from once a wait.
    """

    def __init__(self, rng: random.Random, *, first: float = 0.5, ceiling: float = 30.0) -> None:
        self._rng = rng
        self._first = first
        self._ceiling = ceiling
        self._bound = first

    def next(self) -> float:
        """Seconds to wait now."""
        bound, self._bound = self._bound, min(2 * self._bound, self._ceiling)
        return bound * (0.5 + 0.5 * self._rng.random())

    def reset(self) -> None:
        """Begin with the first wait again: the connection held."""
        self._bound = self._first

    def give_way(self) -> None:
        """Begin with the longest wait: trying again soon would disturb another."""
        self._bound = self._ceiling
