"""The relay's rules, free of any network: who is connected, what may pass, what waits, what is over.

One thread calls everything. Frames are checked by their headers; what a message says is never looked at.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from common.errors import RelayError
from common.transport.notices import credit
from common.transport.wire import MAX_FRAME, Frame, Kind, Status, chunks, parse
from common.versions import BEFORE, Hello
from server.relay.limits import Buckets, Limits
from server.relay.line import End, Line
from server.relay.metrics import RelayMetrics
from server.relay.pending import Pending
from server.relay.queue import Waiting

LOG = logging.getLogger("phenofed.relay")


class Exchange:
    """Passes frames between lines.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, limits: Limits, metrics: RelayMetrics, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._metrics = metrics
        self._clock = clock
        self._lines: dict[str, Line] = {}
        self._buckets: dict[str, Buckets] = {}
        self._pending: dict[tuple[str, bytes], Pending] = {}

    @property
    def lines(self) -> tuple[Line, ...]:
        """The connected silos."""
        return tuple(self._lines.values())

    def connected(self) -> list[str]:
        """Their names, sorted."""
        return sorted(self._lines)

    def attach(
        self,
        name: str,
        spki: str,
        *,
        wake: Callable[[], None],
        on_end: Callable[[], None],
        hello: Hello = BEFORE,
        version: int = 1,
    ) -> Line:
        """A line for a silo whose certificate was authorised; an older line of the same silo ends.

        Args:
            wake, on_end, hello, version: see ``Line``.
        """
        if name in self._lines:
            self.detach(self._lines[name], End.REPLACED)
        buckets = self._buckets.setdefault(name, Buckets(self._limits, self._clock))
        now = self._clock()
        line = Line(name, spki, buckets, wake, on_end, heard=now, told=now, hello=hello, version=version)
        self._lines[name] = line
        for other in self.lines:
            other.introduce(line)
            line.introduce(other)
        line.tell(credit(self._limits.window_bytes, about="", receiver=name))
        self.tell_presence()
        self._metrics.connected(name, True, hello.software)
        extra = {"event": "silo.connected", "silo": name}
        LOG.info("%s connected, with phenofed %s", name, hello.software, extra=extra)
        return line

    def detach(self, line: Line, why: End | None = None) -> None:
        """Forget a line and all that hangs on it; who waits for this silo is told."""
        if why is not None:
            line.end(why)
        if self._lines.get(line.name) is not line:
            return
        del self._lines[line.name]
        for pending in [p for p in self._pending.values() if line in (p.asker, p.asked)]:
            self._refuse(pending, Status.UNREACHABLE)
        while (waiting := line.queue.next()) is not None:
            self.delivered(line, waiting)
        self.tell_presence()
        self._metrics.connected(line.name, False)
        why_not = line.ended.value if line.ended else "its stream ended"
        LOG.info("%s left (%s)", line.name, why_not, extra={"event": "silo.left", "silo": line.name})

    def receive(self, line: Line, raw: bytes) -> None:
        """Take one frame from a silo; a frame that it may not send ends its line."""
        if line.ended:
            return
        line.heard = self._clock()
        try:
            frame = parse(raw)
        except RelayError:
            self._end_as_faulty(line)
            return
        if frame.kind is Kind.HEARTBEAT:
            return
        if frame.kind in (Kind.PRESENCE, Kind.CREDIT, Kind.HELLO) or frame.sender != line.name:
            self._end_as_faulty(line)
        elif frame.kind is Kind.ERROR:
            self._pass_error(line, frame)
        elif line.on_the_way.get(frame.receiver, 0) + len(raw) > self._limits.window_bytes:
            self._end_as_faulty(line)
        else:
            waiting = self._admit(line, frame, len(raw))
            if waiting is None:
                # At once and uncounted: the receiver's name may be anything here.
                line.give_leave(frame.receiver, len(raw))
            else:
                line.on_the_way[frame.receiver] += len(raw)
                self._put(waiting)

    def encode(self, waiting: Waiting) -> bytes:
        """The frame as it leaves; a request carries the time that is left."""
        if waiting.frame.kind is not Kind.REQUEST:
            return waiting.frame.encode()
        left = waiting.pending.until - self._clock()
        return waiting.frame.with_deadline(int(1000 * left)).encode()

    def delivered(self, line: Line, waiting: Waiting) -> None:
        """The frame left for ``line``, or was dropped with it: its sender may send as much again."""
        line.queue.done(waiting)
        self._metrics.waits(line.name, line.queue.size)
        if waiting.origin.ended is None:
            waiting.origin.give_back(line.name, waiting.size, window=self._limits.window_bytes)
        pending = waiting.pending
        last = waiting.frame.index + 1 == waiting.frame.count
        if last and waiting.frame.kind is Kind.REPLY and not pending.over:
            self._forget(pending)
            self._metrics.answered(pending.asked.name, self._clock() - pending.began)
            LOG.debug("answered %d with %d bytes", pending.length, pending.reply_length)

    def tick(self) -> None:
        """Heartbeats, silos that fell silent, requests whose time is over; to be called often."""
        now, limits = self._clock(), self._limits
        for line in self.lines:
            if now - line.heard > limits.heartbeat_seconds * limits.missed_heartbeats:
                self.detach(line, End.SILENT)
            elif now - line.told >= limits.heartbeat_seconds:
                line.told = now
                line.beat()
        for pending in [p for p in self._pending.values() if p.until <= now]:
            self._refuse(pending, Status.EXPIRED)

    def _admit(self, line: Line, frame: Frame, size: int) -> Waiting | None:
        key = (line.name, frame.message_id) if frame.kind is Kind.REQUEST else (frame.receiver, frame.message_id)
        pending = self._pending.get(key)
        if frame.kind is Kind.REQUEST and frame.index == 0 and pending is None:
            pending = self._begin(line, frame)
            if pending is None:
                return None
        if pending is None or not self._belongs(line, frame, pending) or not pending.follows(frame):
            # What comes late, or was refused, is nobody's fault; too much of it is.
            self._metrics.refused(line.name, "stray")
            if not line.buckets.strays.take(size):
                self._end_as_faulty(line)
            return None
        self._metrics.passed(line.name, frame.receiver, frame.kind, size, first=frame.index == 0)
        return Waiting(frame, size, line, pending)

    def _begin(self, line: Line, frame: Frame) -> Pending | None:
        status = self._why_not(line, frame)
        if status is not Status.OK:
            self._metrics.refused(line.name, status.name.lower())
            line.tell(Frame(Kind.ERROR, receiver=line.name, message_id=frame.message_id, status=status))
            return None
        now = self._clock()
        until = now + frame.deadline_ms / 1000
        asked = self._lines[frame.receiver]
        pending = Pending(frame.message_id, line, asked, now, until, frame.length)
        self._pending[line.name, frame.message_id] = pending
        return pending

    def _why_not(self, line: Line, frame: Frame) -> Status:
        unanswered = sum(pending.asker is line for pending in self._pending.values())
        if unanswered >= self._limits.unanswered or not line.buckets.requests.take(1):
            return Status.LIMITED
        if frame.receiver not in self._lines or frame.receiver == line.name:
            return Status.UNREACHABLE
        return Status.OK if line.buckets.bytes.take(frame.length) else Status.LIMITED

    @staticmethod
    def _belongs(line: Line, frame: Frame, pending: Pending) -> bool:
        if frame.kind is Kind.REQUEST:
            return pending.asker is line
        return pending.asked is line and pending.request_chunks == chunks(pending.length)

    def _put(self, waiting: Waiting) -> None:
        line = waiting.pending.asked if waiting.frame.kind is Kind.REQUEST else waiting.pending.asker
        line.queue.put(waiting)
        self._metrics.waits(line.name, line.queue.size)
        if line.queue.size > self._limits.queue_bytes:
            self._refuse(waiting.pending, Status.FULL)
        line.wake()

    def _pass_error(self, line: Line, frame: Frame) -> None:
        pending = self._pending.get((frame.receiver, frame.message_id))
        if pending is None or pending.asked is not line:
            self._metrics.refused(line.name, "stray")
            if not line.buckets.strays.take(MAX_FRAME):
                self._end_as_faulty(line)
            return
        self._metrics.passed(line.name, frame.receiver, frame.kind, frame.length, first=True)
        self._forget(pending)
        pending.asker.tell(frame)

    def _refuse(self, pending: Pending, status: Status) -> None:
        """Tell the asker, unless it is gone itself, and forget the request."""
        self._forget(pending)
        asker = pending.asker
        if asker.ended is None and self._lines.get(asker.name) is asker:
            self._metrics.refused(asker.name, status.name.lower())
            asker.tell(Frame(Kind.ERROR, receiver=asker.name, message_id=pending.message_id, status=status))

    def _forget(self, pending: Pending) -> None:
        pending.over = True
        self._pending.pop((pending.asker.name, pending.message_id), None)
        for line in (pending.asker, pending.asked):
            for waiting in line.queue.drop(pending):
                if waiting.origin.ended is None:
                    waiting.origin.give_back(line.name, waiting.size, window=self._limits.window_bytes)
            self._metrics.waits(line.name, line.queue.size)

    def _end_as_faulty(self, line: Line) -> None:
        self._metrics.refused(line.name, "faulty")
        self.detach(line, End.FAULTY)

    def tell_presence(self) -> None:
        """Tell every silo who is connected."""
        for line in self._lines.values():
            line.presence_due = True
            line.wake()
