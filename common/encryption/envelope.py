"""What travels: a payload under a header that says nothing the reader does not already know.

    magic, version, kind, backend | parameter hash | layout | panel | key id | sender | length     terms, 182 bytes
    message id (32) | SHA-256 of the payload (32) | payload | Ed25519 signature over all but the payload (64)

The reader builds the terms itself, from what was negotiated, and compares; it parses nothing. Whatever is wrong,
the answer is the same error.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from common.consortium.identity import Card, Member
from common.encryption.refusal import refused
from common.errors import EncryptionError

VERSION = 2
BACKEND_SEAL = 1

_TERMS = struct.Struct(">8sBBHH32s32s32s32s32s8s")
_MAGIC = b"phenofed"
_HASH = 32
NOTHING = bytes(_HASH)
"""Stands for the panel of KEYS, which concern no panel."""
SIGNATURE_BYTES = 64
HEADER_BYTES = _TERMS.size + 2 * _HASH


class Kind(IntEnum):
    """What an envelope holds."""

    KEYS = 1
    QUERY = 2
    ANSWER = 3
    ROWS = 4
    ENTRIES = 5


@dataclass(frozen=True)
class Terms:
    """What both sides agreed on before; hashes of 32 bytes.

    Attributes:
        layout: the layout's digest, for KEYS that of all layouts together.
        panel: the panel's digest, which covers the gallery epoch; ``NOTHING`` for KEYS.
        key_id: of the querier's public keys; for KEYS, which carry them, the digest of their key epoch.
        length: exact bytes of the payload.
    """

    kind: Kind
    parameters: bytes
    layout: bytes
    panel: bytes
    key_id: bytes
    length: int

    def to_bytes(self, sender: Card) -> bytes:
        """The head of every envelope under these terms from this sender."""
        length = self.length.to_bytes(8, "big")
        head = (_MAGIC, VERSION, int(self.kind), BACKEND_SEAL, 0, self.parameters, self.layout, self.panel)
        return _TERMS.pack(*head, self.key_id, sender.fingerprint, length)


@dataclass(frozen=True)
class Opened:
    """An envelope that was accepted.

    Attributes:
        terms: those of the acceptable ones that it came under.
        message_id: (32 bytes).
        signed: the envelope without its signature; what a transcript covers.
    """

    terms: Terms
    message_id: bytes
    payload: bytes
    signed: bytes


def seal(payload: bytes, terms: Terms, sender: Member, message_id: bytes) -> bytes:
    """An envelope.

    Raises:
        EncryptionError: the payload is not of the agreed length.
    """
    if len(payload) != terms.length or len(message_id) != _HASH:
        raise EncryptionError(
            f"a payload of {len(payload)} bytes where {terms.length} were agreed",
            remedy="use the layout that the panel negotiated",
        )
    header = terms.to_bytes(sender.card) + message_id + hashlib.sha256(payload).digest()
    return header + payload + sender.sign(header)


def unseal(
    envelope: bytes, acceptable: Sequence[Terms], sender: Card, *, message_id: bytes | None = None
) -> Opened:
    """Check an envelope against acceptable terms and a pinned sender.

    Raises:
        EncryptionError: anything is not as agreed; always the same message.
    """
    header = envelope[:HEADER_BYTES]
    signature = envelope[len(envelope) - SIGNATURE_BYTES :]
    if len(envelope) < HEADER_BYTES + SIGNATURE_BYTES or not sender.verifies(signature, header):
        raise refused()
    terms = next((one for one in acceptable if _same(one.to_bytes(sender), header[: _TERMS.size])), None)
    if terms is None or len(envelope) != HEADER_BYTES + terms.length + SIGNATURE_BYTES:
        raise refused()
    payload = envelope[HEADER_BYTES:-SIGNATURE_BYTES]
    found_id, digest = header[_TERMS.size : -_HASH], header[-_HASH:]
    if not _same(hashlib.sha256(payload).digest(), digest):
        raise refused()
    if message_id is not None and not _same(message_id, found_id):
        raise refused()
    return Opened(terms, found_id, payload, envelope[:-SIGNATURE_BYTES])


def claimed(envelope: bytes) -> tuple[bytes, bytes]:
    """(key id, message id), 32 bytes each, as an envelope states them: to look things up by, never to trust.

    Raises:
        EncryptionError: it is too short to state anything.
    """
    if len(envelope) < HEADER_BYTES:
        raise refused()
    key_id = _TERMS.unpack_from(envelope)[8]
    return key_id, envelope[_TERMS.size : _TERMS.size + _HASH]


def _same(first: bytes, second: bytes) -> bool:
    return hmac.compare_digest(first, second)
