"""The consortium's documents as they lie in the relay's folder, for members that look for newer ones.

The relay hands them out as the operator signed them. It is not believed by anybody, and changes nothing in them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from pathlib import Path

import grpc

from common.errors import RelayError
from common.storage import sha256_bytes
from common.transport.documents import (
    AUTHORITY,
    CERTIFICATE,
    LIMITS,
    REGISTRY,
    ROSTER,
    SUCCESSIONS,
    pieces,
    read_request,
)
from server.relay.limits import TokenBucket

CERTIFICATES = "certificates"

RATE, AT_ONCE = 0.5, 20
"""How often a second one member may ask, and how often at once."""

SECONDS = 60.0
"""For one answer: whoever does not read it holds its memory no longer."""

Stamp = tuple[int, int, int] | None


class NewestDocuments:
    """The files of one relay's folder; read again when they change.

    Args:
        roster, authority: where these lie, by relay.yaml; the others lie beside the roster.
    """

    def __init__(self, roster: Path, authority: Path) -> None:
        self._folder = roster.parent
        self._paths = {
            ROSTER: roster,
            AUTHORITY: authority,
            REGISTRY: self._folder / REGISTRY,
            SUCCESSIONS: self._folder / SUCCESSIONS,
        }
        self._read: dict[Path, tuple[Stamp, bytes]] = {}
        self._seen = self._stamps()

    def of(self, member: str) -> dict[str, bytes]:
        """What a member may have, by name; its own certificate with it. What is too large is left out."""
        paths = self._paths | {CERTIFICATE: self._folder / CERTIFICATES / f"{member}.pem"}
        found = {name: self._content(path, LIMITS[name]) for name, path in paths.items()}
        return {name: content for name, content in found.items() if content}

    def refresh(self) -> bool:
        """Whether a file changed since the last look."""
        before, self._seen = self._seen, self._stamps()
        return before != self._seen

    def _content(self, path: Path, limit: int) -> bytes:
        stamp = _stamp(path)
        known = self._read.get(path)
        if known is not None and known[0] == stamp:
            return known[1]
        content = b""
        if stamp is not None and stamp[1] <= limit:
            try:
                with path.open("rb") as file:
                    content = file.read(limit + 1)
            except OSError:
                return b""
        content = content if len(content) <= limit else b""
        self._read[path] = (stamp, content)
        return content

    def _stamps(self) -> tuple[Stamp, ...]:
        certificates = sorted((self._folder / CERTIFICATES).glob("*.pem"))
        return tuple(_stamp(path) for path in (*self._paths.values(), *certificates))


class Askers:
    """Who asks for documents how often; one answer at a time for each member."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._buckets: dict[str, TokenBucket] = {}
        self._served: set[str] = set()

    def begin(self, member: str) -> bool:
        """Whether a member may have an answer now; ``end`` it then."""
        bucket = self._buckets.setdefault(member, TokenBucket(RATE, AT_ONCE, self._clock))
        if member in self._served or not bucket.take(1):
            return False
        self._served.add(member)
        return True

    def end(self, member: str) -> None:
        """The answer was given."""
        self._served.discard(member)


async def hand_out(
    member: str,
    request: bytes,
    context: grpc.aio.ServicerContext[bytes, bytes],
    documents: NewestDocuments | None,
    askers: Askers,
    connected: Collection[str],
) -> None:
    """Answer a member's call with what differs from what it holds; members without a stream get nothing."""
    if documents is None:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "this relay hands out no documents")
        return
    if member not in connected:
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "attach first")
        return
    if not askers.begin(member):
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "asked too often")
        return
    try:
        held = read_request(request)
        newer = {
            name: content
            for name, content in documents.of(member).items()
            if held.get(name) != sha256_bytes(content)
        }
        async with asyncio.timeout(SECONDS):
            for piece in pieces(newer):
                await context.write(piece)
    except RelayError as error:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, error.what)
    except TimeoutError:
        await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "the answer was not read")
    finally:
        askers.end(member)


def _stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
