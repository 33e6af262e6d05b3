"""Looks for newer documents of the consortium at the relay: once attached, when presence changes, now and then.

A revoked silo is cut off by the relay, which tells the others who is present; so they look, and know, within
seconds.
"""

from __future__ import annotations

import datetime
import logging
import random
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from common.errors import PhenofedError
from common.storage import sha256_bytes
from common.transport.backoff import Backoff
from common.transport.documents import Documents

LOG = logging.getLogger("phenofed.following")

SECONDS = 60.0
"""That one look may take."""


class Source(Protocol):
    """What is asked of the relay's link."""

    @property
    def connected(self) -> bool: ...

    def wait_for_presence(self, seen: int, *, seconds: float) -> int: ...

    def newest(self, held: Mapping[str, str], *, seconds: float) -> dict[str, bytes]: ...


@dataclass(frozen=True)
class FollowPace:
    """Seconds: ``poll`` between looks that nothing calls for; ``spread``: of all silos' looks after a call."""

    poll: float = 60.0
    spread: float = 1.0


class Follower:
    """One silo's looks, in a thread of its own.

    Args:
        wanted: whether policy lets the agent take in what the relay hands out; asked before each look.
        held: the documents that lie here.
        take: judges and installs an offer; gives the names of the documents that were refused.
    """

    def __init__(
        self,
        link: Source,
        *,
        wanted: Callable[[], bool],
        held: Callable[[], Documents],
        take: Callable[[Documents], Iterable[str]],
        pace: FollowPace | None = None,
    ) -> None:
        self._link, self._wanted, self._held, self._take = link, wanted, held, take
        self._pace = pace or FollowPace()
        self._rng = random.SystemRandom()
        self._backoff = Backoff(self._rng, first=2.0, ceiling=self._pace.poll)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="following", daemon=True)
        self._refused: dict[str, bytes] = {}
        self.looked: datetime.datetime | None = None
        """When the relay last answered."""
        self.complaint = ""
        """Why the newest look came to nothing; empty where it did not."""

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """Look no more; a look on its way ends with the link."""
        self._stopping.set()

    def join(self, seconds: float = 10.0) -> None:
        """Wait until nothing is taken in any more, after ``close`` and the link's end."""
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _run(self) -> None:
        seen, pause = 0, self._pace.poll
        while not self._stopping.is_set():
            told = self._link.wait_for_presence(seen, seconds=pause)
            called, seen = told > seen, told
            # All silos are told at once; and what comes within this time is one look.
            if self._stopping.wait(self._rng.uniform(0, self._pace.spread) if called else 0):
                return
            pause = self._pace.poll * self._rng.uniform(0.75, 1.25)
            if not self._link.connected or not self._wanted_now():
                continue
            if not self.look():
                pause = self._backoff.next()

    def _wanted_now(self) -> bool:
        try:
            return self._wanted()
        except PhenofedError as error:
            self._complain(str(error))
            return False

    def look(self) -> bool:
        """Look once; whether the relay could be asked, and all that it offered was judged."""
        try:
            known = {**self._held(), **self._refused}
            digests = {name: sha256_bytes(content) for name, content in known.items()}
            offered = self._link.newest(digests, seconds=SECONDS)
            if offered:
                # What was refused is not sent again, and may fit what comes now.
                everything = {**self._refused, **offered}
                self._refused = {name: everything[name] for name in self._take(everything)}
        except PhenofedError as error:
            self._complain(str(error))
            return False
        except Exception as error:
            # Nothing may end the looks for good; its text may quote files.
            self._complain(f"a fault ({type(error).__name__})")
            return False
        self.looked, self.complaint = datetime.datetime.now(tz=datetime.UTC), ""
        self._backoff.reset()
        return True

    def _complain(self, why: str) -> None:
        if why != self.complaint and not self._stopping.is_set():
            LOG.warning("the consortium's documents were not looked at: %s", why)
        self.complaint = why
