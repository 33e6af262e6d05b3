"""Frames on the stream between a silo and the relay.

    magic, version, kind, status | three text lengths | milliseconds | message id | index | length     header
    sender | receiver | topic | one chunk of the body

A message of ``length`` bytes travels as chunks of at most 256 KiB, chunk ``index`` in each frame, so that a large
message never stands before a small one for long. Remaining time travels instead of a time of day: clocks differ.
Version 2 of the relay's protocol has one kind more, HELLO; all frames say 1, and are as they were.
Bytes from the stream are hostile; ``parse`` bounds everything and has one refusal for all that is wrong.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from enum import IntEnum

from common.errors import RelayError
from common.versions import MAX_HELLO

SERVICE, METHOD, GREET = "phenofed.Relay", "Attach", "Greet"
NEWEST = "Newest"
"""The method that hands out the consortium's documents, see common.transport.documents."""
CHUNK = 256 << 10
MAX_MESSAGE = 64 << 20
MAX_DEADLINE_MS = 3_600_000
MAX_NAME, MAX_TOPIC, MAX_NOTE = 64, 64, 2048
ID_BYTES, CREDIT_BYTES = 16, 4
NO_ID = bytes(ID_BYTES)

_HEAD = struct.Struct(">2sBBBBBBI16sII")
_MAGIC, _VERSION = b"pr", 1
MAX_FRAME = _HEAD.size + 2 * MAX_NAME + MAX_TOPIC + CHUNK
_TOPIC_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_./")


class Kind(IntEnum):
    """What a frame is for."""

    REQUEST = 1
    REPLY = 2
    ERROR = 3
    HEARTBEAT = 4
    PRESENCE = 5
    CREDIT = 6
    HELLO = 7


class Status(IntEnum):
    """Why a request has no reply. Below 16 the relay says so, from 16 on the asked silo."""

    OK = 0
    UNREACHABLE = 1
    EXPIRED = 2
    LIMITED = 3
    FULL = 4
    REFUSED = 16
    FAILED = 17
    BUSY = 18

    @property
    def from_relay(self) -> bool:
        """Whether only the relay may say it."""
        return 0 < self < Status.REFUSED


@dataclass(frozen=True)
class Frame:
    """One frame; an empty ``sender`` is the relay itself."""

    kind: Kind
    sender: str = ""
    receiver: str = ""
    topic: str = ""
    message_id: bytes = NO_ID
    index: int = 0
    length: int = 0
    deadline_ms: int = 0
    status: Status = Status.OK
    body: bytes | memoryview = b""

    @property
    def count(self) -> int:
        """Chunks of the whole message."""
        return chunks(self.length)

    @property
    def size(self) -> int:
        """Bytes of ``encode``'s result, without making it."""
        texts = len(self.sender.encode()) + len(self.receiver.encode()) + len(self.topic.encode())
        return _HEAD.size + texts + len(self.body)

    def encode(self) -> bytes:
        """The frame's bytes; the fields are trusted to be within bounds."""
        sender, receiver, topic = self.sender.encode(), self.receiver.encode(), self.topic.encode()
        head = _HEAD.pack(
            _MAGIC,
            _VERSION,
            self.kind,
            self.status,
            len(sender),
            len(receiver),
            len(topic),
            self.deadline_ms,
            self.message_id,
            self.index,
            self.length,
        )
        return b"".join((head, sender, receiver, topic, self.body))

    def with_deadline(self, milliseconds: int) -> Frame:
        """The same frame with less time."""
        return replace(self, deadline_ms=max(1, min(milliseconds, MAX_DEADLINE_MS)))


def parse(raw: bytes) -> Frame:
    """The frame that ``raw`` holds.

    Raises:
        RelayError: it holds none; always the same error.
    """
    try:
        frame = _read(raw)
    except (struct.error, ValueError) as error:
        raise refused() from error
    if not _CHECKS[frame.kind](frame):
        raise refused()
    return frame


def chunk(message: Frame, body: bytes | memoryview, index: int) -> Frame:
    """Chunk ``index`` of a message with that whole ``body``; ``message`` gives the other fields."""
    part = memoryview(body)[index * CHUNK : (index + 1) * CHUNK]
    return replace(message, index=index, length=len(body), body=part)


def chunks(length: int) -> int:
    """How many frames a message of ``length`` bytes takes; an empty one takes one."""
    return max(1, -(-length // CHUNK))


def is_name(text: str) -> bool:
    """Whether a member may be called so on the wire: 1 to 64 bytes of UTF-8, printable."""
    return 0 < len(text.encode(errors="replace")) <= MAX_NAME and text.isprintable()


def is_topic(text: str) -> bool:
    """Whether ``text`` is a topic: 1 to 64 of a-z, 0-9 and ``-_./``."""
    return 0 < len(text) <= MAX_TOPIC and set(text) <= _TOPIC_LETTERS


def refused() -> RelayError:
    """The one error for bytes that are no frame, or a frame that may not come from there."""
    return RelayError("a frame was refused", remedy="check that the relay and all silos run the same release")


def _read(raw: bytes) -> Frame:
    if len(raw) > MAX_FRAME:
        raise ValueError
    magic, version, kind, status, sender, receiver, topic, *numbers = _HEAD.unpack_from(raw)
    deadline, message_id, index, length = numbers
    body = _HEAD.size + sender + receiver + topic
    if magic != _MAGIC or version != _VERSION or len(raw) < body:
        raise ValueError
    if length > MAX_MESSAGE or deadline > MAX_DEADLINE_MS:
        raise ValueError
    middle = _HEAD.size + sender
    return Frame(
        Kind(kind),
        raw[_HEAD.size : middle].decode(),
        raw[middle : body - topic].decode(),
        raw[body - topic : body].decode(),
        message_id,
        index,
        length,
        deadline,
        Status(status),
        memoryview(raw)[body:],
    )


def _is_chunk(frame: Frame) -> bool:
    return frame.index < frame.count and len(frame.body) == min(CHUNK, frame.length - frame.index * CHUNK)


def _is_between_members(frame: Frame) -> bool:
    return is_name(frame.sender) and is_name(frame.receiver) and frame.message_id != NO_ID


def _is_request(frame: Frame) -> bool:
    timed = frame.deadline_ms > 0 and frame.status == Status.OK
    return _is_between_members(frame) and is_topic(frame.topic) and timed and _is_chunk(frame)


def _is_reply(frame: Frame) -> bool:
    plain = not frame.topic and not frame.deadline_ms and frame.status == Status.OK
    return _is_between_members(frame) and plain and _is_chunk(frame)


def _is_error(frame: Frame) -> bool:
    named = is_name(frame.receiver) and (not frame.sender if frame.status.from_relay else is_name(frame.sender))
    short = len(frame.body) == frame.length <= MAX_NOTE and not frame.index
    plain = not frame.topic and not frame.deadline_ms and frame.message_id != NO_ID
    return named and short and plain and frame.status != Status.OK


def _is_notice(frame: Frame) -> bool:
    plain = not frame.topic and not frame.deadline_ms and frame.message_id == NO_ID and not frame.index
    return plain and frame.status == Status.OK and len(frame.body) == frame.length <= CHUNK


def _is_heartbeat(frame: Frame) -> bool:
    return _is_notice(frame) and not frame.sender and not frame.receiver and not frame.length


def _is_presence(frame: Frame) -> bool:
    return _is_notice(frame) and not frame.sender and is_name(frame.receiver)


def _is_hello(frame: Frame) -> bool:
    return _is_notice(frame) and is_name(frame.sender) and is_name(frame.receiver) and frame.length <= MAX_HELLO


def _is_credit(frame: Frame) -> bool:
    about = not frame.sender or is_name(frame.sender)
    return _is_notice(frame) and about and is_name(frame.receiver) and frame.length == CREDIT_BYTES


_CHECKS = {
    Kind.REQUEST: _is_request,
    Kind.REPLY: _is_reply,
    Kind.ERROR: _is_error,
    Kind.HEARTBEAT: _is_heartbeat,
    Kind.PRESENCE: _is_presence,
    Kind.CREDIT: _is_credit,
    Kind.HELLO: _is_hello,
}
