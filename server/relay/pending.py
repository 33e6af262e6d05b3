"""A request that waits for its reply, as much of it as the relay must know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.transport.wire import Frame, Kind

if TYPE_CHECKING:
    from server.relay.line import Line


@dataclass(eq=False)
class Pending:
    """Who asked whom, until when, and which chunks passed; nothing of what they say."""

    message_id: bytes
    asker: Line
    asked: Line
    began: float
    until: float
    length: int
    request_chunks: int = 0
    reply_chunks: int = 0
    reply_length: int = 0
    over: bool = False

    def follows(self, frame: Frame) -> bool:
        """Whether ``frame`` is the next chunk of the request, or of its reply; if so it counts as passed."""
        if self.over:
            return False
        if frame.kind is Kind.REQUEST:
            if frame.index != self.request_chunks or frame.length != self.length:
                return False
            self.request_chunks += 1
            return frame.receiver == self.asked.name
        if frame.index == 0 and not self.reply_chunks:
            self.reply_length = frame.length
        if frame.index != self.reply_chunks or frame.length != self.reply_length:
            return False
        self.reply_chunks += 1
        return True
