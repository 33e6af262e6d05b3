"""What a silo may ask of the relay: sizes, rates, and how long it may be silent."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import Field

from common.config import Settings
from common.transport.wire import MAX_FRAME


class Limits(Settings):
    """Bounds of one silo.

    A heartbeat of 20 s keeps a stream through proxies that cut what is idle for 60 s. The rates let
    a silo send 40 MB of keys to each of twelve others at once, and 2,000 queries after a pause.
    """

    heartbeat_seconds: float = Field(default=20.0, gt=0, le=600)
    missed_heartbeats: int = Field(default=3, ge=2, le=20)
    window_bytes: int = Field(default=1 << 20, ge=2 * MAX_FRAME, le=1 << 26)
    """From one silo to another, on the way inside the relay."""
    queue_bytes: int = Field(default=32 << 20, ge=2 * MAX_FRAME, le=1 << 30)
    """For one silo from all others."""
    unanswered: int = Field(default=128, ge=1, le=10_000)
    """Requests of one silo that wait for a reply."""
    requests_a_second: float = Field(default=100.0, gt=0)
    requests_at_once: int = Field(default=2000, ge=1)
    bytes_a_second: float = Field(default=float(16 << 20), gt=0)
    bytes_at_once: int = Field(default=1 << 29, ge=1)


class TokenBucket:
    """A rate with a store for bursts.

    Args:
        rate: tokens a second.
        store: tokens at most, and at first.
        clock: seconds.
    """

    def __init__(self, rate: float, store: float, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._store = store
        self._clock = clock
        self._tokens = store
        self._seen = clock()

    def take(self, tokens: float) -> bool:
        """Whether ``tokens`` were there; if so they are taken."""
        now = self._clock()
        self._tokens = min(self._store, self._tokens + (now - self._seen) * self._rate)
        self._seen = now
        if tokens > self._tokens:
            return False
        self._tokens -= tokens
        return True


class Buckets:
    """The rates of one silo; they outlive its streams, so that to reconnect is no way around them."""

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self.requests = TokenBucket(limits.requests_a_second, limits.requests_at_once, clock)
        self.bytes = TokenBucket(limits.bytes_a_second, limits.bytes_at_once, clock)
        self.strays = TokenBucket(limits.bytes_a_second, limits.bytes_at_once, clock)
