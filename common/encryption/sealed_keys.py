"""A querier's secret key at rest: AES-256-GCM (NIST SP 800-38D) under a key that the hospital's key file gives.

    magic and version (9) | nonce (12) | ciphertext and tag

Sealed and opened in the querier's worker only. The associated data is the key id, so a blob opens for the public
keys that it belongs to and for no others.
"""

from __future__ import annotations

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from common.errors import EncryptionError

WRAP_BYTES = 32

_MAGIC = b"phenokey\x01"
_NONCE = 12


def seal_secret(content: bytes, wrap: bytes, key_id: bytes) -> bytes:
    """The content, readable with the same wrap key and key id alone.

    Raises:
        EncryptionError: the wrap key is not of 32 bytes.
    """
    nonce = secrets.token_bytes(_NONCE)
    return _MAGIC + nonce + _cipher(wrap).encrypt(nonce, content, _MAGIC + key_id)


def open_secret(blob: bytes, wrap: bytes, key_id: bytes) -> bytes:
    """``seal_secret`` undone.

    Raises:
        EncryptionError: another wrap key, other public keys, or a damaged blob; always the same message.
    """
    head = len(_MAGIC) + _NONCE
    try:
        if blob[: len(_MAGIC)] != _MAGIC:
            raise InvalidTag
        return _cipher(wrap).decrypt(blob[len(_MAGIC) : head], blob[head:], _MAGIC + key_id)
    except (InvalidTag, ValueError) as error:
        raise EncryptionError(
            "the stored encryption keys do not open",
            remedy="give the passphrase or key file that they were sealed with, or begin a new key epoch",
        ) from error


def _cipher(wrap: bytes) -> AESGCM:
    if len(wrap) != WRAP_BYTES:
        raise EncryptionError(
            f"a wrap key of {len(wrap)} bytes", remedy=f"derive one of {WRAP_BYTES} bytes from the key file"
        )
    return AESGCM(wrap)
