"""Messages put together again from their chunks, within limits that no sender can exceed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from common.transport.wire import CHUNK, Frame, Kind


@dataclass(frozen=True)
class AssemblyLimits:
    """What may wait unfinished: messages and bytes, of one sender and of all."""

    messages: int = 64
    bytes: int = 256 << 20
    sender_messages: int = 16
    sender_bytes: int = 96 << 20


class TooMuch(Exception):
    """The message would pass the limits; what came of it is forgotten."""


class Assembler:
    """Chunks of many messages, interleaved, each in its own order; threads may share it.

    Chunk 0 begins a message anew, since it is sent again after a broken stream; a chunk out of order ends it.
    Memory grows with what arrived, never with what a header claims.

    Args:
        clock: seconds, for requests whose time is over.
    """

    def __init__(self, limits: AssemblyLimits, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._lock = threading.Lock()
        self._partial: dict[tuple[Kind, str, bytes], _Partial] = {}

    def add(self, frame: Frame) -> bytes | None:
        """The whole body once its last chunk came, else None.

        Raises:
            TooMuch: the limits leave no room for it.
        """
        with self._lock:
            whole = self._add(frame)
        return None if whole is None else b"".join(whole)

    def forget(self, kind: Kind, sender: str, message_id: bytes) -> None:
        """Drop what came of a message."""
        with self._lock:
            self._partial.pop((kind, sender, message_id), None)

    def clear(self) -> None:
        """Drop everything: the stream that carried it is gone."""
        with self._lock:
            self._partial.clear()

    @property
    def held_bytes(self) -> int:
        """Bytes of unfinished messages."""
        with self._lock:
            return sum(partial.held for partial in self._partial.values())

    def _add(self, frame: Frame) -> list[bytes | memoryview] | None:
        key = (frame.kind, frame.sender, frame.message_id)
        partial = self._partial.pop(key, None)
        if frame.index == 0:
            partial = _Partial(frame.length, self._clock() + frame.deadline_ms / 1000)
        elif partial is None or frame.index != len(partial.chunks) or frame.length != partial.length:
            return None
        self._check_room(frame)
        partial.chunks.append(frame.body)
        if len(partial.chunks) < frame.count:
            self._partial[key] = partial
            return None
        return partial.chunks

    def _check_room(self, frame: Frame) -> None:
        limits = self._limits
        if self._fits(list(self._partial.values()), frame, limits.messages, limits.bytes):
            own = [partial for (_, sender, _), partial in self._partial.items() if sender == frame.sender]
            if self._fits(own, frame, limits.sender_messages, limits.sender_bytes):
                return
        now = self._clock()
        expired = [k for k, p in self._partial.items() if k[0] is Kind.REQUEST and p.until < now]
        if not expired:
            raise TooMuch
        for key in expired:
            del self._partial[key]
        self._check_room(frame)

    def _fits(self, held: list[_Partial], frame: Frame, messages: int, size: int) -> bool:
        own = frame.index * CHUNK + len(frame.body)
        return len(held) < messages and sum(partial.held for partial in held) + own <= size


@dataclass
class _Partial:
    length: int
    until: float
    chunks: list[bytes | memoryview] = field(default_factory=list)

    @property
    def held(self) -> int:
        return sum(len(chunk) for chunk in self.chunks)
