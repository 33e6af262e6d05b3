"""Which rows an answer leaves out, told to the querier alone.

A silo closes a row when a patient behind it withdraws. Its answers then name the row, as one bit among all rows,
under a key that silo and querier share for one transcript: the relay sees neither which rows nor how many.

    nonce (12) | ChaCha20-Poly1305 of ceil(S / 8) bytes, row 0 in the lowest bit of the first, and its tag (16)
"""

from __future__ import annotations

import secrets
from collections.abc import Collection

import numpy as np
import numpy.typing as npt
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from common.consortium.identity import Card, Member
from common.encryption.refusal import refused

KEY_BYTES = 32

_NONCE, _TAG = 12, 16


def closed_key(member: Member, other: Card, bound_to: bytes) -> bytes:
    """(32 bytes) what a silo and the querier share for one transcript.

    Raises:
        EncryptionError: the other's key is not a proper point.
    """
    return member.shared_key(other, purpose=b"phenofed closed rows 1", context=bound_to)


def sealed_bytes(rows: int) -> int:
    """Bytes of the sealed bits of ``rows`` rows, whatever they say."""
    return _NONCE + -(-rows // 8) + _TAG


def seal_closed(closed: Collection[int], rows: int, key: bytes) -> bytes:
    """``sealed_bytes(rows)`` bytes that say which rows are closed."""
    bits = np.zeros(rows, dtype=bool)
    bits[list(closed)] = True
    nonce = secrets.token_bytes(_NONCE)
    return nonce + ChaCha20Poly1305(key).encrypt(nonce, np.packbits(bits, bitorder="little").tobytes(), None)


def open_closed(content: bytes, rows: int, key: bytes) -> npt.NDArray[np.bool_]:
    """(S,) whether a row is closed.

    Raises:
        EncryptionError: the content is forged, or from another answer.
    """
    if len(content) != sealed_bytes(rows):
        raise refused()
    try:
        packed = ChaCha20Poly1305(key).decrypt(content[:_NONCE], content[_NONCE:], None)
    except InvalidTag as error:
        raise refused() from error
    bits = np.unpackbits(np.frombuffer(packed, np.uint8), bitorder="little").astype(bool)
    if np.any(bits[rows:]):
        raise refused()
    return bits[:rows]
