"""One silo's stream, as the exchange sees it: who it is, what waits for it, what it may still send."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from common.transport.notices import credit, hello, presence
from common.transport.wire import Frame, Kind
from common.versions import BEFORE, Hello
from server.relay.limits import Buckets
from server.relay.queue import MAX_NOTICES, LineQueue, Waiting

TELLS_HELLOS = 2
"""Version of the relay's protocol from which silos are told what the others speak."""


class End(Enum):
    """Why the relay ends a stream; the value is what the silo is told."""

    UNKNOWN = "this certificate is not on the roster"
    REPLACED = "a newer stream of the same silo replaces this one"
    SILENT = "no heartbeat came"
    FAULTY = "a frame was refused"
    SLOW = "notices are not read"
    STOPPED = "the relay stops"


@dataclass(eq=False)
class Line:
    """Made by ``Exchange.attach``.

    Args:
        wake: called when there is something to send.
        on_end: called when the line has ended.
        hello: what the silo said of itself; ``version``: of the relay's protocol, as agreed.
    """

    name: str
    spki: str
    buckets: Buckets
    wake: Callable[[], None]
    on_end: Callable[[], None]
    heard: float
    told: float
    hello: Hello = BEFORE
    version: int = 1
    queue: LineQueue = field(default_factory=LineQueue)
    on_the_way: Counter[str] = field(default_factory=Counter)
    returned: Counter[str] = field(default_factory=Counter)
    presence_due: bool = False
    hellos_due: dict[str, Hello] = field(default_factory=dict)
    ended: End | None = None

    def end(self, why: End) -> None:
        """End the line; the first reason stays."""
        self.ended = self.ended or why
        self.on_end()

    def tell(self, frame: Frame) -> None:
        """Queue a notice, before all data. A silo that lets thousands lie is ended: memory stays bounded."""
        if len(self.queue.notices) >= MAX_NOTICES:
            self.end(End.SLOW)
            return
        self.queue.notices.append(frame.encode())
        self.wake()

    def introduce(self, other: Line) -> None:
        """Tell what another silo speaks, to one that understands it; by name, so that what waits is bounded."""
        if self.version >= TELLS_HELLOS and other is not self:
            self.hellos_due[other.name] = other.hello

    def give_back(self, receiver: str, size: int, *, window: int) -> None:
        """Let the silo send ``size`` more bytes to ``receiver``; told once a quarter of the window gathered."""
        self.on_the_way[receiver] -= size
        self.returned[receiver] += size
        if self.returned[receiver] >= window // 4:
            self.give_leave(receiver, self.returned.pop(receiver))

    def give_leave(self, receiver: str, size: int) -> None:
        """Tell the silo that it may send ``size`` more bytes to ``receiver``."""
        self.tell(credit(size, about=receiver, receiver=self.name))

    def next(self, connected: Callable[[], list[str]]) -> bytes | Waiting | None:
        """What to send now: a notice's bytes, or a frame of data to be encoded; None when nothing waits.

        Errors go before presence: whoever is told that a silo is gone must not read it after its return. So do
        hellos: nobody is present whose versions are not known.
        """
        if self.queue.notices:
            return self.queue.notices.popleft()
        if self.hellos_due:
            about = next(iter(self.hellos_due))
            return hello(self.hellos_due.pop(about), about=about, receiver=self.name).encode()
        if self.presence_due:
            self.presence_due = False
            return presence(connected(), receiver=self.name).encode()
        return self.queue.next()

    def beat(self) -> None:
        """Send a heartbeat."""
        self.tell(Frame(Kind.HEARTBEAT))
