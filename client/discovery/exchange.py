"""Offers and acceptances of links, as signed messages between two hospitals. They name pseudonyms only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Annotated, Literal, TypeVar

from pydantic import Field, ValidationError

from client.discovery.links import Link, LinkBook, Pseudonym, Similarity
from client.discovery.pseudonyms import Pseudonyms
from common.cohort.schema import Record
from common.consortium.identity import Card, Member
from common.consortium.messages import read_message, write_message
from common.encryption.gram_terms import LEAST_THRESHOLD
from common.encryption.refusal import refused
from common.errors import DisclosureError

_OFFER, _ACCEPTANCE = "discovery offer", "discovery acceptance"
_MOST = 1 << 16
_DECIMALS = 2
_Content = TypeVar("_Content", bound=Record)


class LinkExchange:
    """Both directions with one partner.

    Args:
        member: this hospital.
        partner: the other one's card, from the roster.
        threshold: this hospital's; less similar offers are refused.
    """

    def __init__(
        self,
        member: Member,
        partner: Card,
        pseudonyms: Pseudonyms,
        book: LinkBook,
        *,
        threshold: float = LEAST_THRESHOLD,
    ) -> None:
        self._member, self._partner = member, partner
        # Offers carry rounded similarities; one just above a threshold may round to below it.
        self._threshold = round(threshold, _DECIMALS)
        self._pseudonyms, self._book = pseudonyms, book
        cards = sorted((member.card.fingerprint, partner.fingerprint))
        self._context = hashlib.sha256(b"phenofed discovery 1" + b"".join(cards)).digest()

    def offer(self, links: Iterable[Link]) -> bytes:
        """Record links of the last answer and tell the partner of them.

        Raises:
            DisclosureError: there is none, or one of another hospital.
        """
        found = [self._book.add(link) for link in links]
        if not found or {link.partner for link in found} != {self._partner.name}:
            raise DisclosureError("no link to offer to this hospital", remedy="offer the links of its own answer")
        pairs = tuple(
            _Pair(sender=link.ours, receiver=link.theirs, similarity=link.similarity)
            for link in found
            if not link.declined
        )
        return self._write(_Offer(pairs=pairs), _OFFER)

    def receive_offer(self, message: bytes) -> list[Link]:
        """Record what the partner offers.

        Raises:
            EncryptionError: not the partner's message, or a pseudonym that it was never given.
        """
        offer = self._read(message, _Offer, _OFFER)
        links = []
        for pair in offer.pairs:
            patient = self._pseudonyms.patient(self._partner.name, pair.receiver)
            if patient is None or pair.similarity < self._threshold:
                raise refused()
            links.append(
                Link(
                    partner=self._partner.name,
                    patient=patient,
                    ours=pair.receiver,
                    theirs=pair.sender,
                    similarity=pair.similarity,
                )
            )
        return [self._book.add(link) for link in links]

    def accept(self, name: str) -> bytes:
        """Accept a link here, and the message that tells the partner.

        Raises:
            DisclosureError: no such link with this partner, or it was declined.
        """
        if self._book.find(name).partner != self._partner.name:
            raise DisclosureError(f"link '{name}' is with another hospital", remedy="accept it there")
        link = self._book.accept(name, here=True)
        return self._write(_Acceptance(sender=link.ours, receiver=link.theirs), _ACCEPTANCE)

    def receive_acceptance(self, message: bytes) -> Link:
        """Record that the partner accepted.

        Raises:
            EncryptionError: not the partner's message, or of a link that is not known here.
            DisclosureError: this hospital declined it.
        """
        accepted = self._read(message, _Acceptance, _ACCEPTANCE)
        pair = (self._partner.name, accepted.receiver, accepted.sender)
        known = next((link for link in self._book.links if (link.partner, link.ours, link.theirs) == pair), None)
        if known is None:
            raise refused()
        return self._book.accept(known.name, here=False)

    def _write(self, content: Record, purpose: str) -> bytes:
        payload = content.model_dump_json().encode()
        return write_message(payload, self._member, purpose=purpose, context=self._context)

    def _read(self, message: bytes, kind: type[_Content], purpose: str) -> _Content:
        payload = read_message(message, self._partner, purpose=purpose, context=self._context)
        try:
            return kind.model_validate_json(payload)
        except ValidationError as error:
            raise refused() from error


class _Pair(Record):
    sender: Pseudonym
    receiver: Pseudonym
    similarity: Similarity


class _Offer(Record):
    version: Literal[1] = 1
    pairs: Annotated[tuple[_Pair, ...], Field(max_length=_MOST)]


class _Acceptance(Record):
    version: Literal[1] = 1
    sender: Pseudonym
    receiver: Pseudonym
