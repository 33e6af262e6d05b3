"""A document that the consortium's offline key signs (Ed25519, RFC 8032), in versions that form a hash chain.

The file is JSON in one spelling only, so that its bytes follow from its content:

    {"body": ..., "earlier": [digest, ...], "kind": "roster", "phenofed": 1, "signature": "..."}

``earlier`` names the digests of all versions before this one, oldest first: whoever holds any of them sees
without the others whether this one came from it. A digest covers everything but the signature.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from common.errors import ConfigError
from common.versions import newer_file

VERSION = 1
MAX_BYTES = 8 << 20
MAX_EARLIER = 10_000

_DIGEST = re.compile(r"[0-9a-f]{64}")
_CONTEXT = b"phenofed signed file\0"


class RefusedFile(ConfigError):
    """Not signed by the pinned key, of another kind, or damaged; which of these is not told."""


class OlderFile(ConfigError):
    """Signed, and older than the one held here."""


class ForkedFile(ConfigError):
    """Signed, and not one that came from the one held here."""


@dataclass(frozen=True)
class Statement:
    """What is signed. ``body`` holds JSON values without fractions; ``earlier`` the digests of older versions."""

    kind: str
    body: Mapping[str, Any]
    earlier: tuple[str, ...] = ()

    @property
    def sequence(self) -> int:
        """Versions count from 1."""
        return len(self.earlier) + 1

    @property
    def previous(self) -> str:
        """The digest of the version before, empty for the first."""
        return self.earlier[-1] if self.earlier else ""

    @property
    def digest(self) -> str:
        """(64 hexadecimal digits) what names this version everywhere."""
        return hashlib.sha256(_spelt(self._fields())).hexdigest()

    def _fields(self) -> dict[str, Any]:
        return {"phenofed": VERSION, "kind": self.kind, "earlier": list(self.earlier), "body": self.body}


def write_signed(statement: Statement, key: Ed25519PrivateKey) -> bytes:
    """The file."""
    fields = statement._fields()
    return _spelt({**fields, "signature": key.sign(_CONTEXT + _spelt(fields)).hex()})


def read_signed(content: bytes, pinned_key: bytes, *, kind: str) -> Statement:
    """What a file says, once its signature holds.

    Args:
        pinned_key: (32 bytes) the offline key that the reader trusts; never taken from the file's sender.

    Raises:
        RefusedFile: not signed by that key, of another kind, or damaged.
        ConfigError: written by a newer program.
    """
    try:
        fields = _parsed(content)
        signature = fields.pop("signature")
        Ed25519PublicKey.from_public_bytes(pinned_key).verify(bytes.fromhex(signature), _CONTEXT + _spelt(fields))
        version, found = fields["phenofed"], fields["kind"]
        if bytes.fromhex(signature).hex() != signature:
            raise ValueError("a second spelling")
    except (InvalidSignature, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise refused(kind) from error
    newer = newer_file(f"the {kind}", version, VERSION, kind=ConfigError)
    if newer is not None:
        raise newer
    earlier, body = fields.get("earlier"), fields.get("body")
    if found != kind or version != VERSION or len(fields) != 4 or not isinstance(body, dict):
        raise refused(kind)
    if not isinstance(earlier, list) or len(earlier) > MAX_EARLIER or not all(map(_is_digest, earlier)):
        raise refused(kind)
    return Statement(kind, body, tuple(earlier))


def check_follows(old: Statement, new: Statement) -> None:
    """Check that ``new`` is ``old`` or came from it.

    Raises:
        ConfigError: it is older, or came from another version than the one held here.
    """
    if new.digest == old.digest:
        return
    if new.sequence <= old.sequence and old.earlier[: new.sequence] == (*new.earlier, new.digest):
        raise OlderFile(
            f"the {new.kind} is older than the one held here ({new.sequence} before {old.sequence})",
            remedy="ask the operator for the newest",
        )
    if new.sequence <= old.sequence or new.earlier[: old.sequence] != (*old.earlier, old.digest):
        raise ForkedFile(
            f"the {new.kind} does not continue the one held here: two different ones were signed",
            remedy="do not install it; compare fingerprints with the operator and the other hospitals",
        )


def refused(kind: str) -> RefusedFile:
    """The one error for a file that is not what it should be."""
    return RefusedFile(
        f"the {kind} was refused: not signed by the consortium's key, or damaged",
        remedy="ask the operator for it again, by another way",
    )


def _parsed(content: bytes) -> dict[str, Any]:
    if len(content) > MAX_BYTES:
        raise ValueError("too long")
    fields = json.loads(content)
    # One spelling: no key twice, no second form of a number or a letter that another reader could take otherwise.
    if not isinstance(fields, dict) or _spelt(fields) != content:
        raise ValueError("not in the one spelling")
    return fields


def _spelt(fields: Mapping[str, Any]) -> bytes:
    return (json.dumps(fields, indent=1, sort_keys=True, allow_nan=False) + "\n").encode("ascii")


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None
