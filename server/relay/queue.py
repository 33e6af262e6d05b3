"""What waits for one silo: short notices first, then data, in turn of the silos that sent it."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from common.transport.wire import Frame

if TYPE_CHECKING:
    from server.relay.line import Line
    from server.relay.pending import Pending

MAX_NOTICES = 4096


@dataclass(eq=False)
class Waiting:
    """One frame of a request or a reply, on its way through."""

    frame: Frame
    size: int
    origin: Line
    pending: Pending


@dataclass
class LineQueue:
    """Bounded by its user, who asks ``size`` before it puts."""

    size: int = 0
    notices: deque[bytes] = field(default_factory=deque)
    _senders: OrderedDict[str, deque[Waiting]] = field(default_factory=OrderedDict)

    def put(self, waiting: Waiting) -> None:
        """Append to what its sender has waiting."""
        self._senders.setdefault(waiting.frame.sender, deque()).append(waiting)
        self.size += waiting.size

    def next(self) -> Waiting | None:
        """The next frame of data; each sender has its turn, so that a long message delays nobody else's.

        It counts in ``size`` until ``done``.
        """
        if not self._senders:
            return None
        sender, frames = next(iter(self._senders.items()))
        waiting = frames.popleft()
        if frames:
            self._senders.move_to_end(sender)
        else:
            del self._senders[sender]
        return waiting

    def done(self, waiting: Waiting) -> None:
        """The frame left."""
        self.size -= waiting.size

    def drop(self, pending: Pending) -> list[Waiting]:
        """Take out what belongs to a request that is over, and give it."""
        dropped = []
        for sender, frames in list(self._senders.items()):
            kept = deque(frame for frame in frames if frame.pending is not pending)
            dropped += [frame for frame in frames if frame.pending is pending]
            if kept:
                self._senders[sender] = kept
            else:
                del self._senders[sender]
        self.size -= sum(waiting.size for waiting in dropped)
        return dropped
