"""Who opens gallery epochs: of the silos that are present, the first by name, when one is due."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from client.ranking.gallery_epochs import GalleryEpochs
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

    Args:
        settle: seconds for which presence must not change before a first epoch, so that late-comers are in it.
        retry: seconds after a proposal that failed.
    """

    def __init__(
        self,
        name: str,
        epochs: GalleryEpochs,
        link: Presence,
        standing: Callable[[], Standing],
        *,
        days: float = 7.0,
        settle: float = 5.0,
        retry: float = 30.0,
    ) -> None:
        self._name, self._epochs, self._link, self._standing = name, epochs, link, standing
        self._seconds, self._settle, self._retry = days * 86400, settle, retry
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="steward", daemon=True)
        self.last_refusal = ""
        """Why the last proposal failed, for silo status."""

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """Stop looking; a proposal on its way is not waited for."""
        self._stopping.set()

    def _run(self) -> None:
        seen: frozenset[str] = frozenset()
        since = tried = time.monotonic()
        tried -= self._retry
        while not self._stopping.wait(min(1.0, self._settle / 2)):
            present = self._members()
            now = time.monotonic()
            if present != seen:
                seen, since = present, now
            if now - since < self._settle or now - tried < self._retry or not self._due(present):
                continue
            try:
                opened = self._epochs.propose(present)
                self.last_refusal = ""
                LOG.info("gallery epoch %d is open", opened.epoch.number)
            except PhenofedError as error:
                self.last_refusal = str(error)
                LOG.warning("no gallery epoch could be opened: %s", error)
            tried = time.monotonic()

    def _members(self) -> frozenset[str]:
        try:
            roster = self._standing().roster
        except PhenofedError:
            return frozenset()
        return frozenset({self._name, *(name for name in self._link.present() if roster.holds(name))})

    def _due(self, present: frozenset[str]) -> bool:
        if len(present) < SMALLEST or self._name != min(present, key=str.encode):
            return False
        current = self._epochs.current
        return current is None or time.time() - self._epochs.opened_at > self._seconds
