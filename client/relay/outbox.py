"""What a silo still has to send: notices first, then its messages chunk by chunk, each in its turn.

The relay grants bytes a receiver (credits). A receiver without credit is passed over, so that one slow hospital
delays nothing that goes to others, and a small message never waits for more than a chunk of a large one.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from common.transport.notices import MAX_NAMES
from common.transport.wire import MAX_DEADLINE_MS, Frame, Kind, chunk, refused

MOST_NOTICES, MOST_REPLIES, MOST_REPLY_BYTES = 4096, 1024, 256 << 20
"""What waits at most for a relay that does not take it; more is dropped, and who asked will ask again."""


@dataclass(eq=False)
class Message:
    """A request or a reply on its way out.

    Args:
        header: its kind, sender, receiver, topic and id.
        until: when its time is over, by the outbox's clock; a reply's is the time of its request.
    """

    header: Frame
    body: bytes
    until: float
    sent: int = 0
    again: bool = False

    @property
    def key(self) -> tuple[Kind, str, bytes]:
        """A request and its reply may be under way at once, never two of one kind."""
        return (self.header.kind, self.header.receiver, self.header.message_id)


class Outbox:
    """For one stream; threads put, one thread takes.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._notices: deque[Frame] = deque()
        self._messages: OrderedDict[tuple[Kind, str, bytes], Message] = OrderedDict()
        self._credit: dict[str, int] = {}
        self._window: int | None = None
        self._closed = False

    def tell(self, notice: Frame) -> None:
        """Send a short frame before all messages."""
        with self._changed:
            if len(self._notices) < MOST_NOTICES:
                self._notices.append(notice)
            self._changed.notify_all()

    def put(self, message: Message) -> None:
        """Send a message; one that is under way already is sent once more after that."""
        with self._changed:
            if message.key in self._messages:
                self._messages[message.key].again = True
            elif message.header.kind is not Kind.REPLY or self._has_room(message):
                self._messages[message.key] = message
            self._changed.notify_all()

    def drop(self, kind: Kind, receiver: str, message_id: bytes) -> None:
        """Send no more of a message."""
        with self._changed:
            self._messages.pop((kind, receiver, message_id), None)

    def grant(self, receiver: str, size: int) -> None:
        """More bytes may go to ``receiver``; where it is empty, to each one: with that the outbox opens.

        Raises:
            RelayError: more receivers are named than there may be.
        """
        with self._changed:
            if receiver not in self._credit and len(self._credit) >= MAX_NAMES:
                raise refused()
            if receiver:
                self._credit[receiver] = self._credit.get(receiver, self._window or 0) + size
            elif self._window is None:
                self._window = size
            self._changed.notify_all()

    def close(self) -> None:
        """Nothing more is sent."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def next(self, timeout: float) -> bytes | None:
        """The next frame's bytes; a heartbeat where there was none in ``timeout`` seconds, None once closed."""
        with self._changed:
            frame: bytes | None = None

            def is_ready() -> bool:
                nonlocal frame
                frame = None if self._closed else self._take()
                return self._closed or frame is not None

            if not self._changed.wait_for(is_ready, timeout):
                return Frame(Kind.HEARTBEAT).encode()
            return frame

    def _has_room(self, reply: Message) -> bool:
        waiting = [len(held.body) for held in self._messages.values() if held.header.kind is Kind.REPLY]
        return len(waiting) < MOST_REPLIES and sum(waiting) + len(reply.body) <= MOST_REPLY_BYTES

    def _take(self) -> bytes | None:
        if self._notices:
            return self._notices.popleft().encode()
        if self._window is None:
            return None
        for key, message in list(self._messages.items()):
            left = message.until - self._clock()
            if left <= 0:
                del self._messages[key]
                continue
            frame = chunk(message.header, message.body, message.sent)
            credit = self._credit.get(frame.receiver, self._window)
            if frame.size > credit:
                continue
            self._credit[frame.receiver] = credit - frame.size
            self._advance(message, frame.count)
            if frame.kind is Kind.REQUEST:
                frame = frame.with_deadline(int(min(1000 * left, MAX_DEADLINE_MS)))
            return frame.encode()
        return None

    def _advance(self, message: Message, count: int) -> None:
        message.sent += 1
        del self._messages[message.key]
        is_whole = message.sent == count
        if is_whole and message.again:
            message.sent, message.again = 0, False
        if not is_whole or message.sent == 0:
            # To the end: the others have their turn.
            self._messages[message.key] = message
