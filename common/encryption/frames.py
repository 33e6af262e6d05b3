"""Messages over a pipe: a count, then length-prefixed parts. Nothing is unpickled."""

from __future__ import annotations

import os
import select
import struct
import time
from collections.abc import Sequence

from common.errors import EncryptionError

MAX_PARTS = 1 << 10
MAX_BYTES = 1 << 31

_COUNT = struct.Struct(">I")
_LENGTH = struct.Struct(">Q")
_CHUNK = 1 << 20


class PipeClosed(EncryptionError):
    """The other end is gone, silent past the deadline, or sends no frame."""

    def __init__(self, what: str) -> None:
        super().__init__(what, remedy="ask again; the worker is started anew")

    def __reduce__(self) -> tuple[object, ...]:
        return (PipeClosed, (self.what,))


class TooLarge(PipeClosed):
    """The other end announces more than is taken."""

    def __reduce__(self) -> tuple[object, ...]:
        return (TooLarge, (self.what,))


def write(handle: int, parts: Sequence[bytes], *, deadline: float | None = None) -> None:
    """Write one message; with a deadline (``time.monotonic``) the handle must be non-blocking.

    Raises:
        PipeClosed: the reader is gone or does not read in time.
    """
    head = [_COUNT.pack(len(parts))]
    for part in parts:
        head += [_LENGTH.pack(len(part)), part]
    left = memoryview(b"".join(head))
    while left:
        _wait(handle, select.POLLOUT, deadline)
        try:
            left = left[os.write(handle, left[:_CHUNK]) :]
        except BlockingIOError:
            continue
        except OSError as error:
            raise PipeClosed("the encryption worker is gone") from error


def read(handle: int, *, deadline: float | None = None, most: int = MAX_BYTES) -> list[bytes]:
    """Read one message of at most ``most`` bytes.

    Raises:
        TooLarge: it says that it is larger; the rest is left unread.
        PipeClosed: the writer is gone, sends no frame, or is silent past the deadline.
    """
    (count,) = _COUNT.unpack(_exactly(handle, _COUNT.size, deadline))
    if count > MAX_PARTS:
        raise PipeClosed("the encryption worker sends no frame")
    parts, total = [], 0
    for _ in range(count):
        (length,) = _LENGTH.unpack(_exactly(handle, _LENGTH.size, deadline))
        total += length
        if total > most:
            raise TooLarge("the encryption worker sends no frame")
        parts.append(_exactly(handle, length, deadline))
    return parts


def _exactly(handle: int, count: int, deadline: float | None) -> bytes:
    chunks = []
    while count:
        _wait(handle, select.POLLIN, deadline)
        try:
            chunk = os.read(handle, min(count, _CHUNK))
        except BlockingIOError:
            continue
        if not chunk:
            raise PipeClosed("the encryption worker is gone")
        chunks.append(chunk)
        count -= len(chunk)
    return b"".join(chunks)


def _wait(handle: int, event: int, deadline: float | None) -> None:
    if deadline is None:
        return
    poll = select.poll()
    poll.register(handle, event)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise PipeClosed("the encryption worker did not answer in time")
