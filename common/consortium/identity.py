"""A member of the consortium: a card that others pin, and the private keys behind it.

A member signs with Ed25519 (RFC 8032) and agrees on pair keys with X25519 (RFC 7748). Whoever relies on a card
takes its fingerprint from the roster, never from a peer.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from common.errors import EncryptionError

PRIVATE_BYTES = 64


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

    def to_json(self) -> list[str]:
        """Plain values for ``from_json``."""
        return [self.name, self.verify_key.hex(), self.exchange_key.hex()]

    @classmethod
    def from_json(cls, data: list[str]) -> Self:
        """The card that ``to_json`` described."""
        name, verify_key, exchange_key = data
        return cls(name, bytes.fromhex(verify_key), bytes.fromhex(exchange_key))


class Member:
    """A card and its private keys, made here from the system's generator unless given.

    Args:
        private: what ``private_bytes`` gave before.
    """

    def __init__(self, name: str, private: bytes | None = None) -> None:
        if private is None:
            self._signing, self._exchange = Ed25519PrivateKey.generate(), X25519PrivateKey.generate()
        elif len(private) == PRIVATE_BYTES:
            self._signing = Ed25519PrivateKey.from_private_bytes(private[:32])
            self._exchange = X25519PrivateKey.from_private_bytes(private[32:])
        else:
            raise EncryptionError("the member's private keys are damaged", remedy="restore them, or join anew")
        self.card = Card(
            name, self._signing.public_key().public_bytes_raw(), self._exchange.public_key().public_bytes_raw()
        )

    def private_bytes(self) -> bytes:
        """(64 bytes) both private keys, to be encrypted before they rest anywhere."""
        return self._signing.private_bytes_raw() + self._exchange.private_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """(64 bytes) an Ed25519 signature."""
        return self._signing.sign(message)

    def shared_key(self, other: Card, *, purpose: bytes, context: bytes) -> bytes:
        """(32 bytes) the key that this member and ``other`` share for one purpose in one context (RFC 5869).

        Raises:
            EncryptionError: the other's key is not a proper point.
        """
        try:
            shared = self._exchange.exchange(X25519PublicKey.from_public_bytes(other.exchange_key))
        except ValueError as error:
            raise EncryptionError(
                f"the exchange key of {other.name} is not usable", remedy="ask for its card again"
            ) from error
        return HKDF(algorithm=SHA256(), length=32, salt=context, info=purpose).derive(shared)
