"""Discovery as the hospital's own people use it: ask a partner, look at links, accept or refuse them.

desk = DiscoveryDesk(ground, ask)
desk.ask("clinic-b", ["P-17"])       links that were found
desk.accept("3f2a90c1d47e")          and once both hospitals have accepted, whom to write to
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from client.discovery.answering import ACCEPT, ASK, OFFER, DiscoveryAnswering
from client.discovery.asker import DiscoveryAsker
from client.discovery.exchange import LinkExchange
from client.discovery.ground import Ground
from client.discovery.links import Link
from client.discovery.questions import OpenQuestion
from client.workspace.policy import SiloPolicy
from common.consortium.identity import Card
from common.encryption.gram_session import GramAsker
from common.encryption.worker import Worker
from common.errors import DisclosureError, EncryptionError, PhenofedError
from common.transport.refusal import PeerRefusal

ANSWER_SECONDS, TELL_SECONDS = 900.0, 60.0

Ask = Callable[[str, str, bytes, float], bytes]
"""(silo, topic, body, seconds) to its reply."""


@dataclass(frozen=True)
class Outcome:
    """Links, and why the partner could not be told of them; empty where it was."""

    links: tuple[Link, ...]
    untold: str = ""


@dataclass(frozen=True)
class Remaining:
    """Rows of one partner within a year: that may be asked of it, and that it may ask here."""

    partner: str
    to_ask: int
    to_answer: int


class DiscoveryDesk:
    """One hospital's desk.

    Args:
        ask: how other silos are reached.
    """

    def __init__(self, ground: Ground, ask: Ask) -> None:
        self._ground, self._ask = ground, ask
        self._wrap = ground.workspace.wrap_key("discovery questions")
        self._asking = threading.Lock()
        self.handle = DiscoveryAnswering(ground).handle
        """(sender, topic, body) to reply: what partners ask."""

    def ask(self, partner: str, patients: Sequence[str] = ()) -> Outcome:
        """Compare patients, by default all who agreed, with a partner's; the links, which the partner is told of.

        A question that got no answer is asked again, at no cost, by asking for the same patients.

        Raises:
            DisclosureError: no opt-in, a patient who may not be compared, or more than the rows left.
            PeerRefusal: the partner refuses.
            RelayError: it cannot be reached.
        """
        policy, card = self._ground.opted_in(), self._ground.partner(partner)
        with self._asking, Worker("gram-asker") as worker:
            self._ground.forget_withdrawn()
            chosen = tuple(patients) or self._ground.allowed()
            found = self._ground.questions.find(card, chosen, policy.discovery.threshold)
            question = found or self._new_question(card, policy, chosen, worker)
            answer = self._ask(partner, ASK, question.asked.envelope, ANSWER_SECONDS)
            self._ground.forget_withdrawn()
            if not self._ground.questions.is_open(card):
                raise DisclosureError(
                    "the consent of one of these patients ended meanwhile", remedy="ask without that patient"
                )
            links = self._asker(card, policy, question.release, worker).links(question.asked, answer)
            exchange = self._ground.exchange(card, policy)
            offer = exchange.offer(links) if links else b""
            self._ground.questions.drop(card)
        known = tuple(self._ground.book.find(link.name) for link in links)
        return Outcome(known, self._told(partner, offer) if links else "")

    def links(self) -> list[tuple[Link, str | None]]:
        """Every link, and whom to write to where both hospitals have accepted."""
        return [(link, self.contact(link)) for link in self._ground.book.links]

    def contact(self, link: Link) -> str | None:
        """The partner's contact in the roster; None before both have accepted, or if it has left."""
        roster = self._ground.workspace.roster()
        if link.state != "accepted" or not roster.holds(link.partner):
            return None
        return self._ground.book.contact(link.name, lambda partner: roster.member(partner).contact)

    def accept(self, name: str) -> Outcome:
        """Accept a link and tell the partner; again, if it could not be told.

        Raises:
            DisclosureError: no such link, it was refused, or its patient's consent has ended.
        """
        policy = self._ground.opted_in()
        self._ground.forget_withdrawn()
        link = self._ground.book.find(name)
        exchange = self._ground.exchange(self._ground.partner(link.partner), policy)
        acceptance, untold = exchange.accept(name), ""
        try:
            self._tell_acceptance(exchange, link, acceptance)
        except PeerRefusal as error:
            # Its patient left, most likely: there a link goes with its patient, and nobody is told.
            unknown = error.code == EncryptionError.exit_code
            untold = f"{link.partner} does not know this link any more" if unknown else str(error)
        except PhenofedError as error:
            untold = str(error)
        return Outcome((self._ground.book.find(name),), untold)

    def refuse(self, name: str) -> Link:
        """Refuse a link for good; the partner is told nothing.

        Raises:
            DisclosureError: there is no such link.
        """
        self._ground.book.decline(name)
        return self._ground.book.find(name)

    def remaining(self) -> list[Remaining]:
        """One entry for each other member."""
        rows = self._ground.rows(self._ground.workspace.policy())
        cards = [member.card for member in self._ground.workspace.roster().members]
        others = [card for card in cards if card != self._ground.member.card]
        return [Remaining(card.name, rows.rows_left(card), rows.rows_to_answer(card)) for card in others]

    def patients(self) -> tuple[str, ...]:
        """Those who may be compared today."""
        return self._ground.allowed()

    def forget_withdrawn(self) -> int:
        """See ``Ground.forget_withdrawn``."""
        return self._ground.forget_withdrawn()

    def _new_question(
        self, card: Card, policy: SiloPolicy, patients: Sequence[str], worker: Worker
    ) -> OpenQuestion:
        if not patients:
            raise DisclosureError(
                "no patient here may be compared",
                remedy="import unsolved patients with a photo who agreed to discovery",
            )
        comparable = self._ground.comparable()
        asked = self._asker(card, policy, comparable.release, worker).ask(patients, comparable.unsolved)
        return self._ground.questions.keep(card, asked, comparable.release)

    def _asker(self, card: Card, policy: SiloPolicy, release: bytes, worker: Worker) -> DiscoveryAsker:
        return DiscoveryAsker(
            GramAsker(self._ground.member, card, release=release, worker=worker, wrap=self._wrap),
            card,
            threshold=policy.discovery.threshold,
            pseudonyms=self._ground.pseudonyms,
            budget=self._ground.rows(policy),
        )

    def _tell_acceptance(self, exchange: LinkExchange, link: Link, acceptance: bytes) -> None:
        try:
            reply = self._ask(link.partner, ACCEPT, acceptance, TELL_SECONDS)
        except PeerRefusal:
            # Perhaps the offer was lost on its way.
            self._ask(link.partner, OFFER, exchange.offer([link]), TELL_SECONDS)
            reply = self._ask(link.partner, ACCEPT, acceptance, TELL_SECONDS)
        if reply:
            exchange.receive_acceptance(reply)

    def _told(self, partner: str, offer: bytes) -> str:
        try:
            self._ask(partner, OFFER, offer, TELL_SECONDS)
        except PhenofedError as error:
            return str(error)
        return ""
