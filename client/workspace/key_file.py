"""A silo's private keys in one sealed file: its identity, its TLS key, and the root of its wrapping keys.

All are made here, on the hospital's site, and leave it never. Changing the passphrase seals the same keys anew.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from common.consortium.certificates import key_from_pem, key_to_pem, new_key
from common.consortium.console import read_file
from common.consortium.identity import Member
from common.consortium.key_file import Secret, open_private, seal_private
from common.errors import AgentError, ConfigError, EncryptionError
from common.storage import write_bytes

_PURPOSE = "silo keys"
_LIMIT = 1 << 16


@dataclass(frozen=True)
class SiloKeys:
    """``member``: the identity; ``tls_key``: PEM (PKCS#8); ``wrap_root``: (32 bytes) gives the wrapping keys.

    ``next_tls_key``: PEM, one that was asked a certificate for and is not in use yet; empty for none.
    """

    member: Member
    tls_key: bytes = field(repr=False)
    wrap_root: bytes = field(repr=False)
    next_tls_key: bytes = field(default=b"", repr=False)

    @classmethod
    def generate(cls, name: str) -> Self:
        """New keys from the system's generator."""
        return cls(Member(name), key_to_pem(new_key()), os.urandom(32))

    def wrap_key(self, purpose: str) -> bytes:
        """(32 bytes) the key that encrypts other secrets at rest, such as CKKS secret keys (HKDF, RFC 5869)."""
        info = b"phenofed wrap 1 " + purpose.encode()
        return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(self.wrap_root)


def write_keys(path: Path, keys: SiloKeys, secret: Secret) -> None:
    """Seal the keys and write them (0600).

    Raises:
        EncryptionError: the passphrase is too short.
    """
    content = {
        "name": keys.member.card.name,
        "member": keys.member.private_bytes().hex(),
        "tls_key": keys.tls_key.decode(),
        "wrap_root": keys.wrap_root.hex(),
    }
    if keys.next_tls_key:
        content["next_tls_key"] = keys.next_tls_key.decode()
    write_bytes(path, seal_private(json.dumps(content).encode(), secret, purpose=_PURPOSE), private=True)


def read_keys(path: Path, secret: Secret) -> SiloKeys:
    """The keys in a file.

    Raises:
        AgentError: there is no such file.
        EncryptionError: another secret, or a damaged file.
    """
    try:
        sealed = read_file(path, limit=_LIMIT)
    except ConfigError as error:
        raise AgentError(error.what, remedy="restore the keys, or run phenofed silo init anew") from error
    content = json.loads(open_private(sealed, secret, purpose=_PURPOSE))
    try:
        member = Member(content["name"], bytes.fromhex(content["member"]))
        key_from_pem(content["tls_key"].encode())
        following = content.get("next_tls_key", "").encode()
        return SiloKeys(member, content["tls_key"].encode(), bytes.fromhex(content["wrap_root"]), following)
    except (KeyError, ValueError, ConfigError) as error:
        raise EncryptionError(
            "the silo's private keys are damaged", remedy="restore them, or join anew"
        ) from error
