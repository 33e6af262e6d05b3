"""How the relay hands the consortium's documents to a member: what differs from what the member holds, in pieces.

    request    JSON: {"version": 1, "held": {name: SHA-256 of the file, ...}}
    reply      JSON: {"version": 1, "documents": [[name, bytes], ...]}, then their bytes in chunks

Nothing here is believed for having come from the relay: every document is judged by signatures of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from common.config import Settings
from common.consortium.fields import Hash
from common.consortium.signed_file import MAX_BYTES
from common.consortium.succession import MAX_BYTES as MAX_SUCCESSIONS
from common.errors import RelayError
from common.transport.wire import CHUNK

SUCCESSIONS, ROSTER, REGISTRY = "successions.json", "roster.json", "registry.json"
AUTHORITY, CERTIFICATE = "ca.pem", "certificate.pem"
LIMITS: Mapping[str, int] = {
    SUCCESSIONS: MAX_SUCCESSIONS,
    ROSTER: MAX_BYTES,
    REGISTRY: MAX_BYTES,
    AUTHORITY: 1 << 16,
    CERTIFICATE: 1 << 16,
}
"""Which documents there are, by name, and the most bytes of each."""
MAX_REQUEST = 4096

Documents = Mapping[str, bytes]


def write_request(held: Mapping[str, str]) -> bytes:
    """Ask for what differs from ``held``: name -> SHA-256 of the file."""
    return _Request(version=1, held=dict(held)).model_dump_json().encode()


def read_request(raw: bytes) -> dict[str, str]:
    """What a member holds: name -> SHA-256.

    Raises:
        RelayError: it is no such request.
    """
    try:
        if len(raw) > MAX_REQUEST:
            raise ValueError("too long")
        return dict(_Request.model_validate_json(raw).held)
    except (ValidationError, ValueError) as error:
        raise _refused() from error


def pieces(documents: Documents) -> Iterator[bytes]:
    """The reply's messages; none is larger than a chunk."""
    listed = [(name, len(content)) for name, content in sorted(documents.items())]
    yield _Head(version=1, documents=listed).model_dump_json().encode()
    for _, content in sorted(documents.items()):
        for at in range(0, len(content), CHUNK):
            yield content[at : at + CHUNK]


def gather(messages: Iterable[bytes]) -> dict[str, bytes]:
    """The documents of a reply; no more is taken in than its head tells, and that is bounded.

    Raises:
        RelayError: it is no such reply, or a document is larger than it may be.
    """
    coming = iter(messages)
    try:
        raw = next(coming, b"")
        if len(raw) > MAX_REQUEST:
            raise ValueError("too long")
        head = _Head.model_validate_json(raw)
    except (ValidationError, ValueError) as error:
        raise _refused() from error
    sizes = dict(head.documents)
    for name, size in sizes.items():
        if size > LIMITS.get(name, 0):
            raise RelayError(
                f"the relay offers a {name[:40]} of {size} bytes", remedy="tell the operator; nothing was taken in"
            )
    content, total = bytearray(), sum(sizes.values())
    for piece in coming:
        content += piece
        if len(content) > total:
            raise _refused()
    if len(content) != total or len(sizes) != len(head.documents):
        raise _refused()
    found, at = {}, 0
    for name, size in head.documents:
        found[name] = bytes(content[at : at + size])
        at += size
    return found


class _Request(Settings):
    version: Literal[1]
    held: Annotated[dict[Annotated[str, Field(max_length=40)], Hash], Field(max_length=16)]


class _Head(Settings):
    version: Literal[1]
    documents: Annotated[
        list[tuple[Annotated[str, Field(max_length=40)], Annotated[int, Field(ge=0)]]], Field(max_length=16)
    ]


def _refused() -> RelayError:
    return RelayError(
        "the exchange of documents with the relay failed", remedy="check that both sides run the same release"
    )
