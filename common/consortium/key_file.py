"""Private keys at rest: sealed with AES-256-GCM under a passphrase or under a key file.

A passphrase becomes a key by scrypt (RFC 7914); its parameters stand in the file, so that they can rise later. A
key file holds 32 random bytes and suits a service that starts with nobody at the keyboard.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import Field, ValidationError

from common.config import Settings
from common.errors import EncryptionError
from common.storage import write_bytes
from common.versions import refuse_newer

KEY_BYTES = 32
MIN_PASSPHRASE = 12
COST = 17
"""log2 of scrypt's N: 128 MiB and about 0.4 s for each attempt."""

_MAX_BYTES = 1 << 20
_BLOCK, _LANES = 8, 1


@dataclass(frozen=True)
class Passphrase:
    """What a person types. ``cost``: log2 of scrypt's N for what is sealed; opening follows the file."""

    text: str = field(repr=False)
    cost: int = COST


@dataclass(frozen=True)
class KeyFile:
    """32 random bytes."""

    key: bytes = field(repr=False)


Secret = Passphrase | KeyFile


def seal_private(content: bytes, secret: Secret, *, purpose: str) -> bytes:
    """``content`` encrypted and bound to ``purpose``, which the reader must name again.

    Raises:
        EncryptionError: the passphrase is too short.
    """
    if isinstance(secret, Passphrase):
        check_length(secret)
        lock = _Lock(kind="passphrase", salt=os.urandom(16).hex(), cost=secret.cost)
    else:
        lock = _Lock(kind="key file")
    nonce = os.urandom(12)
    sealed = AESGCM(_key(lock, secret)).encrypt(nonce, content, _bound(lock, purpose))
    box = _Sealed(version=1, lock=lock, nonce=nonce.hex(), content=sealed.hex())
    return (json.dumps(box.model_dump(mode="json"), indent=1) + "\n").encode()


def open_private(sealed: bytes, secret: Secret, *, purpose: str) -> bytes:
    """What ``seal_private`` was given.

    Raises:
        EncryptionError: another secret, another purpose, or a damaged file.
    """
    try:
        if len(sealed) > _MAX_BYTES:
            raise ValueError("too long")
        refuse_newer("the file of the private keys", sealed, kind=EncryptionError)
        box = _Sealed.model_validate_json(sealed)
    except (ValidationError, ValueError) as error:
        raise EncryptionError("the file of the private keys is damaged", remedy="restore it") from error
    wanted = "passphrase" if isinstance(secret, Passphrase) else "key file"
    if box.lock.kind != wanted:
        raise EncryptionError(
            f"the private keys are sealed with a {box.lock.kind}, not a {wanted}",
            remedy=f"give the {box.lock.kind}",
        )
    try:
        return AESGCM(_key(box.lock, secret)).decrypt(
            bytes.fromhex(box.nonce), bytes.fromhex(box.content), _bound(box.lock, purpose)
        )
    except InvalidTag as error:
        raise EncryptionError(
            f"the {wanted} does not open the private keys", remedy=f"give the {wanted} that they were sealed with"
        ) from error


def check_length(passphrase: Passphrase) -> Passphrase:
    """``passphrase`` again.

    Raises:
        EncryptionError: it is too short to seal anything.
    """
    if len(passphrase.text) < MIN_PASSPHRASE:
        raise EncryptionError(
            f"the passphrase has fewer than {MIN_PASSPHRASE} letters", remedy="take several unrelated words"
        )
    return passphrase


def new_key_file(path: Path) -> KeyFile:
    """A key file written to ``path`` (0600).

    Raises:
        EncryptionError: something lies there already.
        RunError: it cannot be written.
    """
    if path.exists():
        raise EncryptionError(f"{path} exists already", remedy="name a new file, or move this one away")
    secret = KeyFile(os.urandom(KEY_BYTES))
    write_bytes(path, secret.key, private=True)
    return secret


def read_key_file(path: Path) -> KeyFile:
    """The key file at ``path``.

    Raises:
        EncryptionError: missing, readable by others than its owner, or no key file.
    """
    content = read_private(path, limit=KEY_BYTES + 1)
    if len(content) != KEY_BYTES:
        raise EncryptionError(f"{path} is no key file of {KEY_BYTES} bytes", remedy="name the right file")
    return KeyFile(content)


def read_private(path: Path, *, limit: int) -> bytes:
    """At most ``limit`` bytes of a file that its owner alone can read.

    Raises:
        EncryptionError: missing, or readable by others.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(limit)
    except OSError as error:
        raise EncryptionError(f"cannot read {path} ({error.strerror})", remedy="check path and owner") from error
    if stat.S_IMODE(mode) & 0o077:
        raise EncryptionError(f"{path} can be read by others than its owner", remedy=f"chmod 600 {path}")
    return content


class _Lock(Settings):
    kind: Literal["passphrase", "key file"]
    salt: Annotated[str, Field(pattern=r"^([0-9a-f]{32})?$")] = ""
    # Bounded, since the file could have been written to exhaust memory: 2^20 means 1 GiB.
    cost: Annotated[int, Field(ge=10, le=20)] = 10


class _Sealed(Settings):
    version: Literal[1]
    lock: _Lock
    nonce: Annotated[str, Field(pattern=r"^[0-9a-f]{24}$")]
    content: Annotated[str, Field(pattern=r"^([0-9a-f]{2}){16,}$")]


def _key(lock: _Lock, secret: Secret) -> bytes:
    if isinstance(secret, KeyFile):
        return secret.key
    n = 1 << lock.cost
    return hashlib.scrypt(
        secret.text.encode(),
        salt=bytes.fromhex(lock.salt),
        n=n,
        r=_BLOCK,
        p=_LANES,
        dklen=KEY_BYTES,
        maxmem=(n + 64) * 128 * _BLOCK * 2,
    )


def _bound(lock: _Lock, purpose: str) -> bytes:
    return f"phenofed private 1 {purpose} {lock.model_dump_json()}".encode()
