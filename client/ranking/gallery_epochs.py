"""A silo's part in opening gallery epochs, and what it serves in them.

    anyone       proposes an epoch with the silos that are present        epoch.count
    each silo    checks it, freezes its gallery, gives its sealed counts
    proposer     hands all sealed counts to everyone                      epoch.open
    each silo    sums them, applies the profile's floors, prepares, serves

Nobody is trusted with more than being there: groups follow from the epochs before, counts are signed by those who
give them, and an epoch whose counts are not complete never opens.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.gallery import Gallery
from client.gallery_keeper import GalleryKeeper
from client.ledger import Ledger
from client.ranking.layouts import layouts_of
from client.ranking.sessions import Sessions
from client.ranking.standing import Matchable, Standing
from common.consortium.counts import Totals, masked, total
from common.consortium.gallery_epoch import GalleryEpoch, check_successor
from common.consortium.identity import Card, Member
from common.encryption.gallery_rows import GalleryRows
from common.encryption.sanitise import Noise
from common.errors import AgentError, EncryptionError, PhenofedError
from common.privacy.disclosure import Profile, answerable
from common.ranking.kernel import rbf_coefficients
from common.storage import write_bytes

Ask = Callable[[str, str, bytes, float], bytes]
"""(silo, topic, body, seconds) to the silo's reply."""

SECONDS = 120.0
QUADRATIC_WIDTH = 1.0
"""g of the Gaussian kernel exp(-g |q - c|^2) that the quadratic score stands for."""

MAX_BODY = 64 << 20
MAX_STEP = 1000
"""Epoch numbers that may be left out; a member who jumps to the last number would end all epochs."""

VOUCHING = 3
"""Members of the roster who must have signed an epoch that this silo was not part of."""


@dataclass(frozen=True)
class OpenEpoch:
    """An epoch that everybody counted for. ``counts``: each participant's sealed counts, signed."""

    epoch: GalleryEpoch
    counts: dict[str, bytes]
    totals: Totals
    profile: Profile

    @property
    def answerable(self) -> NDArray[np.bool_]:
        """(S,) bool: the rows that may be answered."""
        return answerable(self.profile, self.totals)

    def lineages(self, standing: Standing) -> tuple[str, ...]:
        """What a query is charged to: the lineages of the rows that may be answered."""
        named = zip(standing.registry.lineages, self.answerable, strict=False)
        return tuple(sorted({lineage for lineage, answered in named if answered}))

    def to_bytes(self) -> bytes:
        """What others, and this silo after a restart, open the epoch from."""
        counts = {name: base64.b64encode(message).decode() for name, message in self.counts.items()}
        return json.dumps({"epoch": self.epoch.to_json(), "counts": counts}).encode()


class GalleryEpochs:
    """The epochs of one silo.

    Args:
        folder: keeps the epoch that is open.
        standing: what the silo goes by now.
        patients: who may be matched now; called once for each epoch.
        ask: how other silos are reached.
    """

    def __init__(
        self,
        folder: Path,
        member: Member,
        *,
        ledger: Ledger,
        keeper: GalleryKeeper,
        sessions: Sessions,
        standing: Callable[[], Standing],
        patients: Callable[[], Matchable],
        ask: Ask,
    ) -> None:
        self._path, self._member = folder / "epoch.json", member
        self._ledger, self._keeper, self._sessions = ledger, keeper, sessions
        self._standing, self._patients, self._ask = standing, patients, ask
        self._open: list[OpenEpoch] = []
        self._lock, self._proposing = threading.RLock(), threading.Lock()

    @property
    def current(self) -> OpenEpoch | None:
        """The newest open epoch."""
        with self._lock:
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
            raise AgentError(
                "no gallery epoch is open", remedy="wait until four hospitals are there, or see silo status"
            )
        return current

    def live(self, epoch_id: str) -> OpenEpoch | None:
        """The open epoch of that id, if it is still answered."""
        with self._lock:
            return next((item for item in self._open if item.epoch.id == epoch_id), None)

    def resume(self) -> None:
        """Serve again what was served before a restart; an epoch that this silo no longer agrees with is left."""
        if not self._path.exists():
            return
        try:
            self._serve(_read(self._path.read_bytes(), self._standing()))
        except (AgentError, EncryptionError):
            return

    def propose(self, present: Iterable[str]) -> OpenEpoch:
        """Open a new epoch with the silos that are ``present``, this one included.

        Raises:
            DisclosureError: too few silos, or none that could be summed without isolating one.
            PhenofedError: a silo refused or was lost; the epoch is not opened, and another number can be tried.
        """
        # Held against a second proposal only: others must be able to ask this silo for its counts meanwhile.
        with self._proposing:
            standing, previous = self._standing(), self.current
            cards = [standing.roster.member(name).card for name in sorted({*present, self._member.card.name})]
            epoch = self._opening(standing, previous, cards)
            known = json.loads(previous.to_bytes()) if previous else None
            body = json.dumps({"epoch": epoch.to_json(), "previous": known}).encode()
            counts = {self._member.card.name: self.count(body)}
            others = [card.name for card in epoch.participants if card != self._member.card]
            counts |= self._ask_all(others, "epoch.count", body)
            opened = OpenEpoch(epoch, counts, total(epoch, counts), standing.profile(epoch))
            self.open(opened.to_bytes())
            self._tell([*others, *epoch.waiting], opened)
            return opened

    def count(self, body: bytes) -> bytes:
        """This silo's sealed counts for a proposed epoch; the same bytes whenever it is asked again.

        Raises:
            PhenofedError: the epoch does not follow, or goes against this silo's policy.
        """
        data = _parse(body)
        epoch = GalleryEpoch.from_json(data.get("epoch"))
        with self._lock:
            standing = self._standing()
            if data.get("previous") is not None:
                self._catch_up(json.dumps(data["previous"]).encode(), standing)
            standing.check(epoch)
            if epoch.card(self._member.card.name) != self._member.card:
                raise AgentError("the epoch shows this silo with another card", remedy="talk to the operator")
            stored = self._ledger.counts_sent(epoch.number)
            if stored is None:
                self._check_follows(epoch)
            gallery = self._gallery(epoch)
            message = stored or masked(gallery.counts, self._member, epoch)
            return self._ledger.keep_counts(epoch.number, epoch.digest, message)

    def open(self, body: bytes) -> bytes:
        """Serve an epoch whose counts are complete.

        Raises:
            PhenofedError: they are not, or the epoch is not one that this silo counted for.
        """
        with self._lock:
            standing = self._standing()
            opened = _read(body, standing)
            if self.live(opened.epoch.id) is None:
                standing.check(opened.epoch)
                if self._takes_part(opened.epoch):
                    own = self._ledger.counts_sent(opened.epoch.number)
                    if own is None or opened.counts.get(self._member.card.name) != own:
                        raise AgentError(
                            "the epoch holds counts that this silo never gave", remedy="propose it anew"
                        )
                self._serve(opened)
                self._write(opened)
            return b"open"

    def close_rows(self, closed: dict[int, frozenset[int]]) -> None:
        """Stop answering rows, by epoch number, in the sessions; the keeper has closed them already."""
        with self._lock:
            for item in self._open:
                rows = closed.get(item.epoch.number)
                if rows and self._takes_part(item.epoch):
                    self._sessions.close_rows(item.epoch.id, rows)

    def own_gallery(self, opened: OpenEpoch) -> Gallery | None:
        """This silo's own patients in an epoch; None where it waits."""
        return self._keeper.gallery(opened.epoch.number) if self._takes_part(opened.epoch) else None

    def _opening(self, standing: Standing, previous: OpenEpoch | None, cards: list[Card]) -> GalleryEpoch:
        number = previous.epoch.number + 1 if previous else 1
        # A number for which counts were given already, to an epoch that never opened, is used up.
        while self._ledger.counts_sent(number) is not None:
            number += 1
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
            number=number,
        )

    def _gallery(self, epoch: GalleryEpoch) -> Gallery:
        try:
            return self._keeper.gallery(epoch.number)
        except AgentError:
            found = self._patients()
            return self._keeper.propose(
                epoch.number,
                found.embeddings,
                found.places,
                release=epoch.release,
                rows=epoch.rows,
                alone=found.alone,
            )

    def _serve(self, opened: OpenEpoch) -> None:
        """Prepare and answer; the last epoch but one is answered no more."""
        epoch, profile = opened.epoch, opened.profile
        if self._takes_part(epoch):
            content = _rows(self._keeper.gallery(epoch.number), opened)
            noise = Noise(profile.noise, scaled=profile.scaled_noise)
            self._sessions.serve(epoch.id, dict.fromkeys(layouts_of(epoch), content), noise=noise)
            closed = self._keeper.gallery(epoch.number).closed
            if closed:
                self._sessions.close_rows(epoch.id, closed)
        for old in self._open[:-1]:
            self._sessions.retire(old.epoch.id)
        self._open = [*self._open[-1:], opened]

    def _write(self, opened: OpenEpoch) -> None:
        write_bytes(self._path, opened.to_bytes(), private=True)

    def _check_follows(self, epoch: GalleryEpoch) -> None:
        before = self.current.epoch if self.current else None
        if epoch.number > (before.number if before else 0) + MAX_STEP:
            raise AgentError(f"gallery epoch {epoch.number} leaves out too many numbers", remedy="count on")
        check_successor(before, epoch)

    def _catch_up(self, body: bytes, standing: Standing) -> None:
        """Take in an epoch that opened while this silo was away; those who signed its counts vouch for it."""
        known = _read(body, standing)
        if self.current is not None and known.epoch.number <= self.current.epoch.number:
            return
        if self._takes_part(known.epoch):
            self.open(body)
            return
        roster = standing.roster
        cards = [card for card in known.epoch.participants if roster.holds(card.name)]
        if sum(roster.member(card.name).card == card for card in cards) < VOUCHING:
            raise AgentError("nobody known vouches for an earlier epoch", remedy="propose with the newest roster")
        self._open = [*self._open[-1:], known]
        self._write(known)

    def _takes_part(self, epoch: GalleryEpoch) -> bool:
        return self._member.card in epoch.participants

    def _ask_all(self, names: list[str], topic: str, body: bytes) -> dict[str, bytes]:
        with ThreadPoolExecutor(max(1, len(names))) as pool:
            jobs = {name: pool.submit(self._ask, name, topic, body, SECONDS) for name in names}
            return {name: job.result() for name, job in jobs.items()}

    def _tell(self, names: list[str], opened: OpenEpoch) -> None:
        """Hand the epoch round. A silo that is lost now catches up when the next one is proposed."""
        body = opened.to_bytes()
        with ThreadPoolExecutor(max(1, len(names))) as pool:
            for job in [pool.submit(self._ask, name, "epoch.open", body, SECONDS) for name in names]:
                try:
                    job.result()
                except PhenofedError:
                    continue


def _rows(gallery: Gallery, opened: OpenEpoch) -> GalleryRows:
    """What the sessions prepare: weighted prototypes, or single patients for the quadratic kernel."""
    if opened.epoch.kernel == "linear":
        return GalleryRows(gallery.prototype_rows(opened.totals, opened.profile))
    patients = gallery.patient_rows(opened.totals, opened.profile)
    return GalleryRows(patients.matrix, patients.places, patients.weights, rbf_coefficients(QUADRATIC_WIDTH))


def _read(body: bytes, standing: Standing) -> OpenEpoch:
    """An open epoch as somebody hands it over; complete and signed, or refused."""
    data = _parse(body)
    epoch = GalleryEpoch.from_json(data.get("epoch"))
    try:
        counts = {str(name): base64.b64decode(message, validate=True) for name, message in data["counts"].items()}
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise EncryptionError("an epoch's counts cannot be read", remedy="propose it anew") from error
    return OpenEpoch(epoch, counts, total(epoch, counts), standing.profile(epoch))


def _parse(body: bytes) -> dict[str, Any]:
    try:
        data = json.loads(body) if len(body) <= MAX_BODY else None
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise EncryptionError("a message about an epoch cannot be read", remedy="bring both sides to one version")
    return data
