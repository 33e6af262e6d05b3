"""A short message from one member to others, signed, for one purpose and one context.

    magic, version | purpose (32) | context (32) | sender (32) | length    header
    payload | Ed25519 signature over header and payload (64)

Queries and answers have envelopes of their own (common.encryption.envelope); this is for everything else that
members tell each other. The reader states purpose, context and sender; none of them is taken from the message.
"""

from __future__ import annotations

import hashlib
import hmac
import struct

from common.consortium.identity import Card, Member
from common.errors import EncryptionError

_HEAD = struct.Struct(">8sB32s32s32sI")
_MAGIC, _VERSION, _SIGNATURE = b"phenomsg", 1, 64
MAX_PAYLOAD = 4 << 20


def write_message(payload: bytes, sender: Member, *, purpose: str, context: bytes) -> bytes:
    """A signed message. ``context`` is any length; what both sides know, such as the digest of an epoch."""
    return _signed(payload, sender.card, purpose, context) + sender.sign(
        _signed(payload, sender.card, purpose, context)
    )


def read_message(message: bytes, sender: Card, *, purpose: str, context: bytes) -> bytes:
    """The payload.

    Raises:
        EncryptionError: not from this sender, for another purpose or context, or damaged; always the same error.
    """
    size = len(message) - _HEAD.size - _SIGNATURE
    payload = message[_HEAD.size : -_SIGNATURE]
    if not 0 <= size <= MAX_PAYLOAD or not sender.verifies(message[-_SIGNATURE:], message[:-_SIGNATURE]):
        raise _refused()
    if not hmac.compare_digest(message[:-_SIGNATURE], _signed(payload, sender, purpose, context)):
        raise _refused()
    return payload


def _signed(payload: bytes, sender: Card, purpose: str, context: bytes) -> bytes:
    about = hashlib.sha256(purpose.encode()).digest()
    bound_to = hashlib.sha256(context).digest()
    return _HEAD.pack(_MAGIC, _VERSION, about, bound_to, sender.fingerprint, len(payload)) + payload


def _refused() -> EncryptionError:
    return EncryptionError(
        "a message was refused", remedy="check that both sides run the same release, roster and epoch"
    )
