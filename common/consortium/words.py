"""A fingerprint as twelve words that two people compare over the telephone.

The words are those of BIP-39: 2,048 English words that differ in their first four letters. They carry the first
128 bits of the fingerprint and a checksum of 4 bits, so that a misheard word is noticed; nobody can find
another key with the same words.
"""

from __future__ import annotations

import hashlib
from functools import cache

from mnemonic import Mnemonic

_BYTES = 16


def fingerprint_words(fingerprint: bytes) -> str:
    """Twelve words for a fingerprint of at least 16 bytes, such as ``Card.fingerprint``."""
    return _list().to_mnemonic(fingerprint[:_BYTES])


def key_fingerprint(verify_key: bytes) -> bytes:
    """(32 bytes) the fingerprint of a consortium's offline Ed25519 key (32 bytes)."""
    return hashlib.sha256(b"phenofed offline key 1" + verify_key).digest()


def names(said: str, fingerprint: bytes) -> bool:
    """Whether ``said`` is this fingerprint, as its words or as 64 hexadecimal digits, in any case and spacing."""
    parts = said.lower().replace("-", " ").replace(":", " ").split()
    return " ".join(parts) == fingerprint_words(fingerprint) or "".join(parts) == fingerprint.hex()


@cache
def _list() -> Mnemonic:
    return Mnemonic("english")
