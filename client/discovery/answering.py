"""What this hospital does for partners in discovery: answers questions, takes offers and acceptances.

The sender is the one that the relay authenticated; what matters is signed inside, and checked against the roster.
"""

from __future__ import annotations

import threading

from client.discovery.ground import Ground
from client.discovery.responder import DiscoveryResponder
from client.workspace.policy import SiloPolicy
from common.consortium.identity import Card
from common.encryption.gram_session import GramResponder
from common.encryption.worker import Worker
from common.errors import AgentError, DisclosureError

PREFIX = "discover."
ASK, OFFER, ACCEPT = PREFIX + "ask", PREFIX + "offer", PREFIX + "accept"


class DiscoveryAnswering:
    """One hospital's answers, each computed in a worker process of its own that ends with it."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._computing = threading.Lock()

    def handle(self, sender: str, topic: str, body: bytes) -> bytes:
        """Answer one request.

        Raises:
            PhenofedError: the request is refused.
        """
        policy, card = self._ground.opted_in(), self._ground.partner(sender)
        if topic == ASK:
            return self._answer(card, policy, body)
        if topic == OFFER:
            self._ground.exchange(card, policy).receive_offer(body)
            return b""
        if topic == ACCEPT:
            return self._take_acceptance(card, policy, body)
        raise AgentError(f"this silo does not know '{topic[:40]}'", remedy="bring both sides to one version")

    def _answer(self, card: Card, policy: SiloPolicy, question: bytes) -> bytes:
        # One at a time, and nobody waits here: those who do would take the handlers that ranking needs.
        if not self._computing.acquire(blocking=False):
            raise AgentError(
                "this hospital is comparing patients already", remedy="ask again in a minute; it costs no row"
            )
        try:
            with Worker("gram-responder") as worker:
                comparable = self._ground.comparable()
                session = GramResponder(self._ground.member, card, release=comparable.release, worker=worker)
                responder = DiscoveryResponder(
                    session,
                    card,
                    allowed=policy.allow.discover,
                    threshold=policy.discovery.threshold,
                    pseudonyms=self._ground.pseudonyms,
                    answers=self._ground.rows(policy).answers(card),
                )
                return responder.answer(question, comparable.unsolved)
        finally:
            self._computing.release()

    def _take_acceptance(self, card: Card, policy: SiloPolicy, message: bytes) -> bytes:
        """This hospital's own acceptance of the same link, if it has accepted; so nobody misses the other's."""
        exchange = self._ground.exchange(card, policy)
        try:
            link = exchange.receive_acceptance(message)
        except DisclosureError:
            # Declined here: the partner hears what it would hear of a link that nobody has looked at yet.
            return b""
        return exchange.accept(link.name) if link.accepted_here else b""
