"""Who opens gallery epochs, and when: of the silos that are present, the first by name; after it the next."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from client.ranking.gallery_epochs import GalleryEpochs
from client.ranking.proposing import Proposer
from client.ranking.standing import Standing
from common.errors import PhenofedError

LOG = logging.getLogger("phenofed.epochs")
SMALLEST = 4


class Presence(Protocol):
    """What the steward asks the relay's link."""

    def present(self) -> set[str]:
        """The other silos that are connected now."""


class Steward:
    """Proposes an epoch where none is open, and a new one every ``days``.

    A new roster, registry or release calls for an epoch too, once every silo that is present has it, and all of
    the epoch before are present: agents restart with a release, and who comes seconds late to its first epoch may
    have to wait for the next release. After ``grace`` seconds it opens without them, where most are ready.

    Args:
        allowed: whether this silo's policy lets it take part.
        settle: seconds for which presence must not change before an epoch, so that late-comers are in it.
        turn: seconds that a silo waits for each one before it by name: the first may be unable to propose.
        retry: seconds after a proposal that failed.
    """

    def __init__(
        self,
        name: str,
        epochs: GalleryEpochs,
        proposer: Proposer,
        link: Presence,
        standing: Callable[[], Standing],
        allowed: Callable[[], bool],
        *,
        days: float = 7.0,
        settle: float = 5.0,
        turn: float = 60.0,
        retry: float = 30.0,
        grace: float = 300.0,
    ) -> None:
        self._name, self._epochs, self._proposer, self._link = name, epochs, proposer, link
        self._standing, self._allowed = standing, allowed
        self._seconds, self._settle, self._turn, self._retry = days * 86400, settle, turn, retry
        self._grace = grace
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="steward", daemon=True)
        self.last_refusal = ""
        """Why the last proposal failed, for silo status."""

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """Stop looking; a proposal on its way ends with the link."""
        self._stopping.set()
        self._proposer.stop()

    def join(self, seconds: float = 10.0) -> None:
        """Wait until nothing is proposed any more, after ``close`` and the link's end."""
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _run(self) -> None:
        known: frozenset[str] = frozenset()
        present: frozenset[str] = frozenset()
        due_since: float | None = None
        since = tried = time.monotonic()
        tried -= self._retry
        while not self._stopping.wait(min(1.0, self._settle / 2)):
            try:
                seen, now = self._members(), time.monotonic()
                if seen != present:
                    present, since = seen, now
                if now - since < self._settle or now - tried < self._retry:
                    continue
                if present - known:
                    # One that was away, this one perhaps, may know an older epoch than the others.
                    self._proposer.learn(present)
                known = present
                if not (self._overdue() or self._changed()) or len(present) < SMALLEST or not self._allowed():
                    due_since = None
                    continue
                due_since = now if due_since is None else due_since
                if now - due_since >= self._turn * sorted(present, key=str.encode).index(self._name):
                    if not self._overdue() and now - due_since < self._grace and (away := self._away(present)):
                        self._refused(f"waiting for {', '.join(away)}, up to {self._grace:.0f} s")
                        continue
                    self._propose(present, since=due_since)
                    tried = time.monotonic()
            except PhenofedError as error:
                self._refused(str(error))
                tried = time.monotonic()
            except Exception as error:
                # Its text may quote data; nothing may end the steward for good.
                self._refused(f"a fault ({type(error).__name__})")
                tried = time.monotonic()

    def _propose(self, present: frozenset[str], *, since: float) -> None:
        everybody = not self._overdue()
        if everybody and time.monotonic() - since >= self._grace:
            # Not half against half, which would open epochs in turns for ever.
            everybody = 2 * len(self._proposer.agreeing(present)) <= len(present)
        opened = self._proposer.propose(present, everybody=everybody)
        self.last_refusal = ""
        LOG.info("gallery epoch %d is open", opened.epoch.number)

    def _refused(self, why: str) -> None:
        if why != self.last_refusal and not self._stopping.is_set():
            LOG.warning("no gallery epoch could be opened: %s", why)
        self.last_refusal = why

    def _members(self) -> frozenset[str]:
        admits = self._standing().admits
        return frozenset({self._name, *(name for name in self._link.present() if admits(name))})

    def _away(self, present: frozenset[str]) -> list[str]:
        """Who is in the open epoch, is a member still, and is not connected."""
        current, admits = self._epochs.current, self._standing().admits
        if current is None:
            return []
        names = [*(card.name for card in current.epoch.participants), *current.epoch.waiting]
        return sorted(name for name in names if name not in present and admits(name))

    def _overdue(self) -> bool:
        return self._epochs.current is None or time.time() - self._epochs.opened_at > self._seconds

    def _changed(self) -> bool:
        """Whether this silo goes by something newer than the open epoch."""
        current, standing = self._epochs.current, self._standing()
        return current is not None and standing.differences(current.epoch) != ()
