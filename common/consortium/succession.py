"""How one offline key hands over to the next: a statement that the old key signs and the new one countersigns.

    {"body": {"accepted": ..., "consortium": ..., "former": ..., "key": ..., "made": ...}, ...}

Successions form a hash chain of their own. ``successions.json`` holds all of them, oldest first. Whoever pinned
one of the keys finds by them the key that holds now, and which keys held before: what was taken in under those,
such as a plan that was approved, stays readable.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import Field, ValidationError

from common.config import Settings
from common.consortium.fields import Hash, Name
from common.consortium.signed_file import RefusedFile, Statement, read_signed, refused, write_signed
from common.errors import ConfigError

KIND = "succession"
MAX_SUCCESSIONS = 256
MAX_BYTES = 8 << 20

_CONTEXT = b"phenofed succession\0"

Read = TypeVar("Read")


@dataclass(frozen=True)
class Succession:
    """``former``, ``key``: (32 bytes) the key that signs it, and the one that holds from then on."""

    consortium: str
    former: bytes
    key: bytes
    made: datetime.date
    digest: str
    signed: bytes


@dataclass(frozen=True)
class OfflineKeys:
    """Public keys (32 bytes). ``newest``: what signs everything new; ``former``: what did before, newest first."""

    newest: bytes
    former: tuple[bytes, ...] = ()

    @property
    def all(self) -> tuple[bytes, ...]:
        """Every key that what lies here already may be signed by, newest first."""
        return (self.newest, *self.former)


def succeed(
    chain: Sequence[Succession],
    consortium: str,
    old: Ed25519PrivateKey,
    new: Ed25519PrivateKey,
    made: datetime.date,
) -> tuple[Succession, ...]:
    """``chain`` and one more: ``new`` takes over from ``old``.

    Raises:
        ConfigError: the chain is as long as it may be.
    """
    if len(chain) >= MAX_SUCCESSIONS:
        raise ConfigError(f"the offline key was replaced {len(chain)} times", remedy="found the consortium anew")
    former, key = old.public_key().public_bytes_raw(), new.public_key().public_bytes_raw()
    body = {
        "consortium": consortium,
        "former": former.hex(),
        "key": key.hex(),
        "made": made.isoformat(),
        "accepted": new.sign(_accepts(consortium, former, key)).hex(),
    }
    statement = Statement(KIND, body, tuple(item.digest for item in chain))
    signed = write_signed(statement, old)
    return (*chain, Succession(consortium, former, key, made, statement.digest, signed))


def write_successions(chain: Sequence[Succession]) -> bytes:
    """The file of all of them."""
    return _spelt([item.signed.decode() for item in chain])


def read_successions(content: bytes) -> tuple[Succession, ...]:
    """All of a file, each signed by its own two keys; whether one of these is trusted is the reader's to say.

    Raises:
        RefusedFile: damaged, or not signed by the keys that it names.
        ConfigError: written by a newer program.
    """
    if not content:
        return ()
    try:
        if len(content) > MAX_BYTES:
            raise ValueError("too long")
        listed = _File.model_validate_json(content).successions
        if _spelt(listed) != content:
            raise ValueError("another spelling")
    except (ValidationError, ValueError) as error:
        raise refused(KIND) from error
    chain: list[Succession] = []
    for text in listed:
        chain.append(_read(text.encode(), chain))
    return tuple(chain)


def keys_after(pinned: bytes, chain: Sequence[Succession], consortium: str) -> OfflineKeys:
    """The keys that somebody who pinned one of them may go by.

    A key from before the pinned one counts because the pinned one, or one that it took over from, countersigned.

    Raises:
        RefusedFile: the chain is another consortium's.
    """
    if any(item.consortium != consortium for item in chain):
        raise refused(KIND)
    newest, former, before = pinned, [], pinned
    for item in reversed(chain):
        if item.key == before:
            before = item.former
            former.append(before)
    for item in chain:
        if item.former == newest:
            former.insert(0, newest)
            newest = item.key
    return OfflineKeys(newest, tuple(former))


def read_by(keys: Sequence[bytes], read: Callable[[bytes, bytes], Read], content: bytes) -> Read:
    """What ``read`` makes of a signed file under the first of ``keys`` that signed it.

    Raises:
        RefusedFile: none of them did, or it is damaged.
    """
    for key in keys[:-1]:
        try:
            return read(content, key)
        except RefusedFile:
            continue
    return read(content, keys[-1])


def check_continues(old: Sequence[Succession], new: Sequence[Succession]) -> None:
    """Check that ``new`` is ``old`` or came from it.

    Raises:
        ConfigError: it does not hold what was held here: older, or two different keys were named.
    """
    if [item.digest for item in new[: len(old)]] != [item.digest for item in old]:
        raise ConfigError(
            "the succession of offline keys is not the one held here",
            remedy="do not install it; compare the words of the offline key with the operator",
        )


def _read(content: bytes, before: Sequence[Succession]) -> Succession:
    try:
        named = json.loads(content)["body"]["former"]
        former = bytes.fromhex(named)
        statement = read_signed(content, former, kind=KIND)
        body = _Body.model_validate(statement.body)
        key = bytes.fromhex(body.key)
        Ed25519PublicKey.from_public_bytes(key).verify(
            bytes.fromhex(body.accepted), _accepts(body.consortium, former, key)
        )
        in_order = statement.earlier == tuple(item.digest for item in before)
        if not in_order or (before and before[-1].key != former) or key in {former, *(i.former for i in before)}:
            raise ValueError("out of order")
    except RefusedFile:
        raise
    except (InvalidSignature, ValidationError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise refused(KIND) from error
    return Succession(body.consortium, former, key, body.made, statement.digest, content)


def _spelt(listed: Sequence[str]) -> bytes:
    return (json.dumps({"version": 1, "successions": list(listed)}, indent=1) + "\n").encode()


def _accepts(consortium: str, former: bytes, key: bytes) -> bytes:
    name = consortium.encode()
    return _CONTEXT + len(name).to_bytes(8, "big") + name + former + key


class _Body(Settings):
    consortium: Name
    former: Hash
    key: Hash
    made: datetime.date
    accepted: Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]


class _File(Settings):
    version: Literal[1]
    successions: Annotated[list[str], Field(max_length=MAX_SUCCESSIONS)]
