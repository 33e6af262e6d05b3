"""Proposes gallery epochs, and asks the others for those that this silo missed.

A silo that will not take part, because it goes by another roster, registry or release, runs a release of the
program that does not fit, or its policy forbids it, is left out and named; the others rank without it.
"""

from __future__ import annotations

import json
import logging
import random
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from client.ranking.gallery_epochs import GalleryEpochs
from client.ranking.open_epoch import OpenEpoch, parse
from client.ranking.standing import Standing
from client.ranking.versions import Ask, GoesBy, Unfit, Versions, differing, goes_by
from common.consortium.counts import total
from common.consortium.gallery_epoch import GalleryEpoch
from common.errors import AgentError, DisclosureError, EncryptionError, PhenofedError

LOG = logging.getLogger("phenofed.epochs")

SECONDS = 120.0
ATTEMPTS = 4
"""How often an epoch is proposed anew after another silo proposed one at the same time."""


class Proposer:
    """One silo's proposals, one at a time.

    Args:
        name: the silo's own.
        ask: how other silos are reached.
        pause: seconds to wait at most before a proposal that met another one is repeated.
    """

    def __init__(
        self,
        name: str,
        epochs: GalleryEpochs,
        *,
        standing: Callable[[], Standing],
        ask: Ask,
        pause: float = 2.0,
    ) -> None:
        self._name, self._epochs, self._standing, self._ask = name, epochs, standing, ask
        self._pause = pause
        self._proposing = threading.Lock()
        self._stopping = threading.Event()
        self.versions = Versions(ask)
        """What the others go by."""
        self.left_out: dict[str, str] = {}
        """Silos that were present at the last proposal and would not take part, and why."""

    def stop(self) -> None:
        """Repeat no proposal any more."""
        self._stopping.set()

    def learn(self, names: Iterable[str]) -> None:
        """Take in what others opened while this silo was away."""
        current = self._epochs.current
        number = str(current.epoch.number if current else 0).encode()
        replies, _ = self._ask_all([name for name in names if name != self._name], "epoch.newest", number)
        for reply in replies.values():
            try:
                if reply:
                    self._epochs.catch_up(parse(reply))
            except PhenofedError as error:
                LOG.warning("an epoch that another silo knows was not taken in: %s", error)

    def agreeing(self, names: Iterable[str]) -> set[str]:
        """Those of ``names`` that go by the same roster, registry and release, this silo included."""
        standing = self._standing()
        own, others = goes_by(standing), set(names) - {self._name}
        said = self.versions.of(others)
        return {self._name, *(name for name in others if self._why_apart(said[name], own, standing) == "")}

    def propose(self, present: Iterable[str], *, everybody: bool = False) -> OpenEpoch:
        """Open a new epoch with the silos that are ``present``, this one included.

        Args:
            everybody: rather none than one without somebody who is present.

        Raises:
            DisclosureError: too few silos will take part, or none could be summed without isolating one.
            PhenofedError: a silo was lost on the way; the epoch is not opened, and can be proposed again.
        """
        names = {*present, self._name}
        with self._proposing:
            before = self._epochs.current
            for _ in range(ATTEMPTS):
                self.learn(names)
                current = self._epochs.current
                if current is not None and current is not before:
                    return current  # somebody else was faster
                try:
                    return self._propose(names, everybody=everybody)
                except _Met as error:
                    met = error
                # The system's generator: two proposers must not pause alike.
                self._stopping.wait(random.SystemRandom().uniform(0.1, 1.0) * self._pause)
            raise met

    def _propose(self, names: set[str], *, everybody: bool) -> OpenEpoch:
        epoch = self._agreed(names, everybody=everybody)
        others, takes_part = self._others(epoch)
        body = self._body(epoch)
        counts = {self._name: self._epochs.count(body)} if takes_part else {}
        given, refusals = self._ask_all(others, "epoch.count", body)
        if refusals:
            raise _Met(
                f"gallery epoch {epoch.number} did not open: {_listed(refusals)}", remedy="propose it again"
            )
        counts |= given
        opened = OpenEpoch(epoch, counts, total(epoch, counts), self._standing().profile(epoch))
        self._epochs.open(opened.to_bytes())
        # A silo that is lost now catches up when it is back.
        self._ask_all([*others, *(set(epoch.waiting) - {self._name})], "epoch.open", opened.to_bytes())
        return self._epochs.live(epoch.id) or opened

    def _agreed(self, names: set[str], *, everybody: bool) -> GalleryEpoch:
        """The epoch to which all its participants will give counts; none has given any yet."""
        self.left_out, at_least = self._apart(names), 0
        if self.left_out and everybody:
            raise AgentError(f"not every silo is ready: {_listed(self.left_out)}", remedy="mend it there")
        while True:
            roster = self._standing().roster
            cards = [roster.member(name).card for name in sorted(names - set(self.left_out))]
            try:
                epoch = self._epochs.following(cards, at_least=at_least)
            except DisclosureError as error:
                without = f"; left out: {_listed(self.left_out)}" if self.left_out else ""
                raise DisclosureError(error.what + without, remedy=error.remedy) from error
            body = self._body(epoch)
            others, takes_part = self._others(epoch)
            replies, refusals = self._ask_all(others, "epoch.check", body)
            numbers = [_number(reply) for reply in replies.values()]
            if takes_part:
                numbers.append(_number(self._epochs.check(body)))
            self.left_out |= refusals
            if refusals and everybody:
                raise AgentError(f"not every silo is ready: {_listed(refusals)}", remedy="mend it there")
            if not refusals and max(numbers) <= epoch.number:
                return epoch
            at_least = max(at_least, *numbers)

    def _apart(self, names: set[str]) -> dict[str, str]:
        """Who goes by something else, and what. Who does not say is judged by its answer to the epoch."""
        self.versions.forget()
        standing = self._standing()
        own, said = goes_by(standing), self.versions.of(names - {self._name})
        return {name: why for name, theirs in said.items() if (why := self._why_apart(theirs, own, standing))}

    @staticmethod
    def _why_apart(theirs: GoesBy | str, own: GoesBy, standing: Standing) -> str:
        if isinstance(theirs, str):
            return theirs if isinstance(theirs, Unfit) else ""
        return differing(theirs, own, standing)

    def _others(self, epoch: GalleryEpoch) -> tuple[list[str], bool]:
        """The other participants, and whether this silo is one: one that must wait may propose all the same."""
        names = [card.name for card in epoch.participants]
        return [name for name in names if name != self._name], self._name in names

    def _body(self, epoch: GalleryEpoch) -> bytes:
        current = self._epochs.current
        known = current.to_json() if current else None
        return json.dumps({"epoch": epoch.to_json(), "previous": known}).encode()

    def _ask_all(self, names: list[str], topic: str, body: bytes) -> tuple[dict[str, bytes], dict[str, str]]:
        """Replies, and why there is none, by silo."""
        replies, refusals = {}, {}
        with ThreadPoolExecutor(max(1, len(names))) as pool:
            jobs = {name: pool.submit(self._ask, name, topic, body, SECONDS) for name in names}
            for name, job in jobs.items():
                try:
                    replies[name] = job.result()
                except PhenofedError as error:
                    refusals[name] = error.what.removeprefix(f"{name}: ")
        return replies, refusals


class _Met(AgentError):
    """Another proposal was on its way at the same time, or a silo was lost."""


def _number(reply: bytes) -> int:
    if not (reply.isascii() and reply.isdigit() and len(reply) < 16):
        raise EncryptionError("a message about an epoch cannot be read", remedy="bring both sides to one version")
    return int(reply)


def _listed(refusals: dict[str, str]) -> str:
    return "; ".join(f"{name}: {why}" for name, why in sorted(refusals.items()))
