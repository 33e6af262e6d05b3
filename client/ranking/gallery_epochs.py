"""A silo's part in gallery epochs: what it agrees to, what it counts, and what it serves.

    anyone       proposes an epoch with the silos that are present        epoch.check
    each silo    checks it, and encodes its gallery
    proposer     asks for sealed counts                                   epoch.count
    each silo    freezes its gallery, gives its sealed counts
    proposer     hands all sealed counts to everyone                      epoch.open
    each silo    sums them, applies the profile's floors, prepares, serves

Nobody is trusted with more than being there: groups follow from the epochs before, counts are signed by those who
give them, and an epoch whose counts are not complete never opens. Who proposes stands in client.ranking.proposing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from client.gallery.gallery import Gallery
from client.gallery.keeper import GalleryKeeper
from client.ledger.ledger import Ledger
from client.ranking.counted_silos import CountedSilos
from client.ranking.epoch_rows import served_rows
from client.ranking.layouts import layouts_of
from client.ranking.open_epoch import OpenEpoch, parse, read_open
from client.ranking.standing import Matchable, Standing
from common.consortium.counts import masked
from common.consortium.gallery_epoch import GalleryEpoch, check_successor
from common.consortium.identity import Card, Member
from common.encryption.sanitise import Noise
from common.encryption.silo_session import SiloSession
from common.errors import AgentError, PhenofedError
from common.storage import write_bytes

LOG = logging.getLogger("phenofed.epochs")

MAX_STEP = 1000
"""Epoch numbers that may be left out; a member who jumps to the last number would end all epochs."""

VOUCHING = 3
"""Members of the roster who must have signed an epoch that this silo was not part of."""


class GalleryEpochs:
    """The epochs of one silo.

    Args:
        folder: keeps the epoch that is open.
        standing: what the silo goes by now.
        patients: who may be matched now; called when an epoch is checked and when it is counted for.
    """

    def __init__(
        self,
        folder: Path,
        member: Member,
        *,
        ledger: Ledger,
        keeper: GalleryKeeper,
        sessions: SiloSession,
        standing: Callable[[], Standing],
        patients: Callable[[], Matchable],
    ) -> None:
        self._path, self._member = folder / "epoch.json", member
        self._counted = CountedSilos(folder / "counted.json")
        self._ledger, self._keeper, self._sessions = ledger, keeper, sessions
        self._standing, self._patients = standing, patients
        self._open: list[OpenEpoch] = []
        self._served: set[str] = set()
        # Encoding a gallery takes long; queries in the epoch that is open must not wait for it.
        self._changing, self._state = threading.RLock(), threading.RLock()

    @property
    def current(self) -> OpenEpoch | None:
        """The newest open epoch."""
        with self._state:
            return self._open[-1] if self._open else None

    @property
    def opened_at(self) -> float:
        """When the newest epoch was taken in, seconds since 1970; 0 without one."""
        return self._path.stat().st_mtime if self._path.exists() else 0.0

    def require(self) -> OpenEpoch:
        """The newest open epoch.

        Raises:
            AgentError: there is none yet.
        """
        current = self.current
        if current is None:
            raise AgentError("no gallery epoch is open", remedy="wait for four hospitals, or see silo status")
        return current

    def live(self, epoch_id: str) -> OpenEpoch | None:
        """The open epoch of that id, if it is still answered."""
        with self._state:
            return next((item for item in self._open if item.epoch.id == epoch_id), None)

    def own_gallery(self, opened: OpenEpoch) -> Gallery | None:
        """This silo's own patients in an epoch; None where it waits."""
        return self._keeper.gallery(opened.epoch.number) if self._takes_part(opened.epoch) else None

    def resume(self) -> None:
        """Serve again what was served before a restart."""
        if not self._path.exists():
            return
        with self._changing:
            try:
                known = read_open(parse(self._path.read_bytes()), self._standing())
            except PhenofedError as error:
                LOG.warning("the gallery epoch of before cannot be read: %s", error)
                return
            try:
                self._serve(known)
            except PhenofedError as error:
                # Remembered all the same: what follows is checked against it.
                self._remember(known)
                LOG.warning("gallery epoch %d is not answered any more: %s", known.epoch.number, error)

    def following(self, cards: Iterable[Card], *, at_least: int = 0) -> GalleryEpoch:
        """The epoch that would follow with these silos.

        Args:
            at_least: its number, where lower ones are used up elsewhere.

        Raises:
            DisclosureError: too few silos, or none that could be summed without isolating one.
        """
        standing, previous = self._standing(), self.current
        return GalleryEpoch.opening(
            previous.epoch if previous else None,
            cards,
            roster=standing.roster.digest,
            registry=standing.registry.digest,
            release=standing.release,
            profile=standing.floor.name,
            kernel=standing.kernel,
            dimension=standing.dimension,
            entries=len(standing.registry.entries),
            number=max(at_least, self._free_number()),
        )

    def check(self, body: bytes) -> bytes:
        """Say whether this silo will count for a proposed epoch; the number that it should have at least.

        Raises:
            PhenofedError: it does not follow, or goes against what this silo goes by.
        """
        with self._changing:
            epoch = self._proposed(body)
            if self._ledger.counts_sent(epoch.number) is None:
                self._counted.check(epoch)
                # A gallery that has been encoded makes the counts come at once.
                self._patients()
            return str(max(epoch.number, self._free_number())).encode()

    def count(self, body: bytes) -> bytes:
        """This silo's sealed counts for a proposed epoch; the same bytes whenever it is asked again.

        Raises:
            PhenofedError: as ``check``, or counts were given for another epoch of that number.
        """
        with self._changing:
            epoch = self._proposed(body)
            message = self._ledger.counts_sent(epoch.number)
            if message is None:
                self._counted.keep(epoch)
                message = masked(self._gallery(epoch).counts, self._member, epoch)
            return self._ledger.keep_counts(epoch.number, epoch.digest, message)

    def open(self, body: bytes) -> bytes:
        """Serve an epoch whose counts are complete.

        Raises:
            PhenofedError: they are not, or the epoch is not one that this silo counted for.
        """
        with self._changing:
            self._take_in(parse(body), self._standing())
        return b"open"

    def newest(self, body: bytes) -> bytes:
        """The newest epoch for a silo that was away; nothing where it knows as much. ``body``: its number."""
        current = self.current
        known = int(body) if body.isascii() and body.isdigit() and len(body) < 16 else 0
        return current.to_bytes() if current is not None and current.epoch.number > known else b""

    def catch_up(self, data: dict[str, Any]) -> None:
        """Take in an epoch that opened while this silo was away; those who signed its counts vouch for it.

        Raises:
            PhenofedError: it is not complete, or nobody known vouches for it.
        """
        with self._changing:
            standing = self._standing()
            known = read_open(data, standing)
            if self.current is not None and known.epoch.number <= self.current.epoch.number:
                return
            if self._takes_part(known.epoch):
                self._take_in(data, standing)
                return
            members = {member.card for member in standing.roster.members if standing.admits(member.name)}
            if len(members & set(known.epoch.participants)) < VOUCHING:
                raise AgentError("nobody known vouches for an earlier epoch", remedy="get the newest roster")
            self._remember(known)
            write_bytes(self._path, known.to_bytes(), private=True)

    def close_rows(self, closed: dict[int, frozenset[int]]) -> None:
        """Stop answering rows, by epoch number, in the sessions; the keeper has closed them already."""
        with self._state:
            for item in self._open:
                rows = closed.get(item.epoch.number)
                if rows and item.epoch.id in self._served:
                    self._sessions.close_rows(item.epoch.id, rows)

    def _proposed(self, body: bytes) -> GalleryEpoch:
        data = parse(body)
        epoch = GalleryEpoch.from_json(data.get("epoch"))
        if isinstance(data.get("previous"), dict):
            self.catch_up(data["previous"])
        self._standing().check(epoch)
        if epoch.card(self._member.card.name) != self._member.card:
            raise AgentError("the epoch shows this silo with another card", remedy="talk to the operator")
        if self._ledger.counts_sent(epoch.number) is None:
            before = self.current.epoch if self.current else None
            if epoch.number > (before.number if before else 0) + MAX_STEP:
                raise AgentError(f"gallery epoch {epoch.number} leaves out too many numbers", remedy="count on")
            check_successor(before, epoch)
        return epoch

    def _take_in(self, data: dict[str, Any], standing: Standing) -> None:
        opened = read_open(data, standing)
        epoch, current = opened.epoch, self.current
        if self.live(epoch.id) is not None:
            return
        if current is not None and epoch.number <= current.epoch.number:
            raise AgentError(f"gallery epoch {epoch.number} is over", remedy="ask for the newest one")
        if self._takes_part(epoch):
            own = self._ledger.counts_sent(epoch.number)
            # Counts are given after a check of everything; policy alone may have changed since.
            if own is None or opened.counts.get(self._member.card.name) != own:
                raise AgentError("the epoch holds counts that this silo never gave", remedy="propose it anew")
            standing.check_profile(epoch)
        else:
            standing.check(epoch)
            check_successor(current.epoch if current else None, epoch)
        self._serve(opened)
        write_bytes(self._path, opened.to_bytes(), private=True)

    def _gallery(self, epoch: GalleryEpoch) -> Gallery:
        try:
            return self._keeper.gallery(epoch.number)
        except AgentError:
            found = self._patients()
            live = [item.epoch.number for item in self._open]
            return self._keeper.propose(
                epoch.number,
                found.embeddings,
                found.places,
                release=epoch.release,
                rows=epoch.rows,
                alone=found.alone,
                live=live,
            )

    def _free_number(self) -> int:
        """The next one for which this silo gave no counts."""
        number = self.current.epoch.number + 1 if self.current else 1
        while self._ledger.counts_sent(number) is not None:
            number += 1
        return number

    def _serve(self, opened: OpenEpoch) -> None:
        """Prepare and answer; the last epoch but one is answered no more."""
        epoch, profile = opened.epoch, opened.profile
        if self._takes_part(epoch):
            content = served_rows(self._keeper.gallery(epoch.number), opened)
            noise = Noise(profile.noise, scaled=profile.scaled_noise)
            self._sessions.serve(epoch.id, dict.fromkeys(layouts_of(epoch), content), noise=noise)
        with self._state:
            if self._takes_part(epoch):
                # Somebody may have withdrawn while the gallery was prepared.
                self._served.add(epoch.id)
                closed = self._keeper.gallery(epoch.number).closed
                if closed:
                    self._sessions.close_rows(epoch.id, closed)
            self._remember(opened)

    def _remember(self, opened: OpenEpoch) -> None:
        with self._state:
            for old in self._open[:-1]:
                self._served.discard(old.epoch.id)
                self._sessions.retire(old.epoch.id)
            self._open = [*self._open[-1:], opened]

    def _takes_part(self, epoch: GalleryEpoch) -> bool:
        return self._member.card in epoch.participants
