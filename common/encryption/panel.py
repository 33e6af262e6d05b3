"""Who takes part in an answer: identities, and panels of silos whose sum alone is ever seen.

A member signs with Ed25519 (RFC 8032) and agrees on pair keys with X25519 (RFC 7748). Its card holds the public
halves; whoever relies on a card pins its fingerprint, taken from the roster and never from a peer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from common.errors import DisclosureError, EncryptionError

SMALLEST_PANEL = 3
"""Silos besides the querier's: of two, one colluding with the querier reveals the other."""


@dataclass(frozen=True)
class Card:
    """The public side of a member: name, Ed25519 and X25519 public keys (32 bytes each)."""

    name: str
    verify_key: bytes
    exchange_key: bytes

    @property
    def fingerprint(self) -> bytes:
        """(32 bytes) what others pin."""
        name = self.name.encode()
        return hashlib.sha256(
            b"phenofed card 1" + len(name).to_bytes(8, "big") + name + self.verify_key + self.exchange_key
        ).digest()

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether this member signed ``message``."""
        try:
            Ed25519PublicKey.from_public_bytes(self.verify_key).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


class Member:
    """A card and its private keys, made here from the system's generator."""

    def __init__(self, name: str) -> None:
        self._signing = Ed25519PrivateKey.generate()
        self._exchange = X25519PrivateKey.generate()
        self.card = Card(
            name, self._signing.public_key().public_bytes_raw(), self._exchange.public_key().public_bytes_raw()
        )

    def sign(self, message: bytes) -> bytes:
        """(64 bytes) an Ed25519 signature."""
        return self._signing.sign(message)

    def pair_key(self, other: Card, panel: Panel) -> bytes:
        """(32 bytes) the key that this member and ``other`` share for one panel.

        Raises:
            EncryptionError: the other's key is not a proper point.
        """
        try:
            shared = self._exchange.exchange(X25519PublicKey.from_public_bytes(other.exchange_key))
        except ValueError as error:
            raise EncryptionError(
                f"the exchange key of {other.name} is not usable", remedy="ask for its card again"
            ) from error
        return HKDF(algorithm=SHA256(), length=32, salt=panel.digest, info=b"phenofed pair 1").derive(shared)


@dataclass(frozen=True)
class Panel:
    """The silos whose scores are summed, the querier they answer, and the gallery epoch.

    Attributes:
        members: sorted by the UTF-8 bytes of their names, whatever order they came in.
        smallest: silos that a panel must have; below ``SMALLEST_PANEL`` only in simulations.

    Raises:
        DisclosureError: too few silos, or the querier is one of them.
        EncryptionError: a name stands twice.
    """

    members: tuple[Card, ...]
    querier: Card
    gallery_epoch: str
    smallest: int = SMALLEST_PANEL

    def __post_init__(self) -> None:
        members = tuple(sorted(self.members, key=lambda card: card.name.encode()))
        object.__setattr__(self, "members", members)
        names = [card.name for card in members]
        if len(set(names)) != len(names):
            raise EncryptionError("a silo stands twice in a panel", remedy="name each silo once")
        if self.querier.name in names or self.querier.fingerprint in {card.fingerprint for card in members}:
            raise DisclosureError(
                f"{self.querier.name} asks a panel that it belongs to",
                remedy="leave it out; it scores its own patients in clear",
            )
        if len(members) < max(self.smallest, 1):
            raise DisclosureError(
                f"a panel of {len(members)} silos would show what a single one answered",
                remedy=f"rank over at least {self.smallest} silos besides the querier's"
                ", or simulate with profile='simulation'",
            )

    @property
    def digest(self) -> bytes:
        """(32 bytes) over members in order, querier and epoch."""
        digest = hashlib.sha256(b"phenofed panel 1")
        cards = (card.fingerprint for card in (self.querier, *self.members))
        for part in (self.gallery_epoch.encode(), *cards):
            digest.update(len(part).to_bytes(8, "big") + part)
        return digest.digest()

    def others(self, name: str) -> Iterable[tuple[int, Card]]:
        """(sign, card) of every other silo: +1 for those that come after ``name``, -1 for those before."""
        for card in self.members:
            if card.name != name:
                yield (1 if name.encode() < card.name.encode() else -1), card

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``from_json``."""
        return {
            "members": [_card_to_json(card) for card in self.members],
            "querier": _card_to_json(self.querier),
            "gallery_epoch": self.gallery_epoch,
            "smallest": self.smallest,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Panel:
        """The panel that ``to_json`` described."""
        members = tuple(_card_from_json(card) for card in data["members"])
        return cls(members, _card_from_json(data["querier"]), data["gallery_epoch"], data["smallest"])


def _card_to_json(card: Card) -> list[str]:
    return [card.name, card.verify_key.hex(), card.exchange_key.hex()]


def _card_from_json(data: list[str]) -> Card:
    name, verify_key, exchange_key = data
    return Card(name, bytes.fromhex(verify_key), bytes.fromhex(exchange_key))
