"""What asking and answering both stand on: policy, roster, the patients of today, and the private files.

discovery/pseudonyms.json   links.json   questions/   encodings.safetensors
"""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from client.discovery.exchange import LinkExchange
from client.discovery.links import LinkBook
from client.discovery.pseudonyms import Pseudonyms
from client.discovery.questions import Questions
from client.discovery.rows import DiscoveryRows
from client.discovery.unsolved import Unsolved
from client.gallery.encoder import PhotoEncoder
from client.ledger.ledger import Ledger
from client.workspace.members import check_accepted, strangers_of
from client.workspace.policy import SiloPolicy
from client.workspace.workspace import Workspace
from common.cohort.schema import Purpose
from common.cohort.store import StoredCohort
from common.consortium.identity import Card
from common.encryption.gram_terms import MOST_PATIENTS
from common.errors import AgentError, DisclosureError
from common.ranking.patients import Embeddings

LOG = logging.getLogger("phenofed.discovery")
FOLDER, ENCODINGS = "discovery", "encodings.safetensors"


@dataclass(frozen=True)
class Comparable:
    """Patients who may be compared today. ``release``: (32 bytes) digest of what their embeddings come from."""

    unsolved: Unsolved
    release: bytes


class Ground:
    """One hospital's.

    Args:
        stored: the patients as they are now, None before the first import.
        encoder: makes one whose encodings are kept in ``FOLDER``. It is made for each comparison and then let go:
            comparisons are rare, and networks large.

    Raises:
        AgentError: a private file is damaged.
    """

    def __init__(
        self,
        workspace: Workspace,
        *,
        ledger: Ledger,
        stored: Callable[[], StoredCohort | None],
        encoder: Callable[[], PhotoEncoder],
        today: Callable[[], datetime.date] = datetime.date.today,
    ) -> None:
        self.workspace, self.member = workspace, workspace.member()
        self._ledger, self._stored, self._encoder, self._today = ledger, stored, encoder, today
        self._folder = workspace.folder / FOLDER
        self.pseudonyms = Pseudonyms(self._folder / "pseudonyms.json")
        self.book = LinkBook(self._folder / "links.json")
        self.questions = Questions(self._folder / "questions")

    def opted_in(self) -> SiloPolicy:
        """The policy of now.

        Raises:
            DisclosureError: it does not allow discovery.
        """
        policy = self.workspace.policy()
        if not policy.allow.discover:
            raise DisclosureError(
                "this hospital does not take part in discovery", remedy="set allow.discover in its policy"
            )
        return policy

    def partner(self, name: str) -> Card:
        """Another member's card, as the roster of now has it.

        Raises:
            ConfigError: there is no such member.
            DisclosureError: it is this hospital, or was not accepted here.
        """
        roster = self.workspace.roster()
        card = roster.member(name).card
        if card == self.member.card:
            raise DisclosureError(f"{name} is this hospital", remedy="name another member")
        check_accepted(name, strangers_of(self.workspace, self.workspace.policy(), roster))
        return card

    def rows(self, policy: SiloPolicy) -> DiscoveryRows:
        """The accounts of who asked how much."""
        return DiscoveryRows(self._ledger, policy.discovery.rows_a_year)

    def exchange(self, partner: Card, policy: SiloPolicy) -> LinkExchange:
        """Offers and acceptances with one partner."""
        return LinkExchange(self.member, partner, self.pseudonyms, self.book, threshold=policy.discovery.threshold)

    def allowed(self) -> tuple[str, ...]:
        """Unsolved patients with photos who agree today, in the cohort's order; without looking at a photo."""
        return self._unsolved(self._required())

    def comparable(self) -> Comparable:
        """Those patients and their embeddings, by the release in use; the first 2,048 of them."""
        stored = self._required()
        ids = self._unsolved(stored)
        if len(ids) > MOST_PATIENTS:
            LOG.warning("%d of %d unsolved patients are compared", MOST_PATIENTS, len(ids))
        cohort, encoder = stored.cohort.subset(ids[:MOST_PATIENTS]), self._encoder()
        nobody = Embeddings((), np.zeros((0, encoder.dimension), dtype=np.float32))
        embeddings = encoder.gallery(stored, cohort) if cohort.patients else nobody
        return Comparable(Unsolved(cohort, embeddings, on=self._today()), bytes.fromhex(encoder.release.digest))

    def forget_withdrawn(self) -> int:
        """Drop what is kept of patients who left or whose consent to discovery ended; how many they are.

        Patients who are solved by now stay: their links are what solved them. Where there is no cohort at all
        nothing is dropped, since an import may be about to put one there.
        """
        stored = self._stored()
        if stored is None:
            return 0
        known = self.pseudonyms.patients | {link.patient for link in self.book.links} | self.questions.patients
        agreed = stored.cohort.for_purpose(Purpose.DISCOVER, self._today()).patients
        gone = known - {patient.id for patient in agreed}
        for patient in gone:
            self.book.forget(patient)
            self.pseudonyms.forget(patient)
        if gone:
            self.questions.forget(gone)
            (self._folder / ENCODINGS).unlink(missing_ok=True)
            LOG.info("forgot the links and names of %d patients", len(gone))
        return len(gone)

    def _unsolved(self, stored: StoredCohort) -> tuple[str, ...]:
        everyone = stored.cohort.for_purpose(Purpose.DISCOVER, self._today()).patients
        return tuple(patient.id for patient in everyone if patient.syndrome is None and patient.photos)

    def _required(self) -> StoredCohort:
        stored = self._stored()
        if stored is None:
            raise AgentError("no patients were imported yet", remedy="run phenofed silo import")
        return stored
