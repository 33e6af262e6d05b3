"""The silo's one connection to the others: asks them, and answers what they ask, through the relay.

    link = RelayLink("relay.example.org:8443", tls, "hospital-1", handler)
    link.start()
    reply = link.request("hospital-2", "rank.query", body, deadline=30.0)
    link.close()

The connection is outbound and returns by itself; what was in flight is sent again until its deadline.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from client.relay.asks import Ask, check, result
from client.relay.connection import Destination, Pace, RelayConnection
from client.relay.outbox import Message
from client.relay.presence import Presence
from client.relay.service import Handler, Outcome, PeerService, ServiceLimits, error_frame
from common.errors import RelayError
from common.transport.assembly import Assembler, AssemblyLimits, TooMuch
from common.transport.backoff import Backoff
from common.transport.notices import present, told
from common.transport.tls import TlsFiles
from common.transport.wire import ID_BYTES, Frame, Kind, Status
from common.versions import OWN, Hello


@dataclass(frozen=True)
class LinkLimits:
    """Seconds that an absent silo or the relay may take to return; requests at once; what others may cause."""

    patience: float = 10.0
    requests: int = 64
    service: ServiceLimits = field(default_factory=ServiceLimits)
    assembly: AssemblyLimits = field(default_factory=AssemblyLimits)


class RelayLink:
    """A silo's link; any thread may ask.

    Args:
        address: ``host:port`` of the relay.
        name: the silo's roster name; the relay must know its certificate by it.
        handler: answers requests of others, in threads of its own: (sender, topic, body) to reply. The sender is
            who the relay says it is; what matters must be signed inside the body. A PhenofedError that it raises
            is told to the asker in its own words; anything else is told without details. It must bear a request
            twice.
        proxy: ``host:port`` of an HTTP proxy; without one the connection is direct, whatever the environment says.
        hello: what this silo says of itself.
    """

    def __init__(
        self,
        address: str,
        tls: TlsFiles,
        name: str,
        handler: Handler,
        *,
        proxy: str | None = None,
        limits: LinkLimits | None = None,
        pace: Pace | None = None,
        backoff: Backoff | None = None,
        clock: Callable[[], float] = time.monotonic,
        hello: Hello = OWN,
    ) -> None:
        self.name = name
        self._tls = tls
        self._clock = clock
        self._limits = limits or LinkLimits()
        self._changed = threading.Condition()
        self._presence = Presence(clock())
        self._asks: dict[bytes, Ask] = {}
        self._closed = False
        self._told = 0
        self._assembler = Assembler(self._limits.assembly, clock)
        self._service = PeerService(handler, self._limits.service, clock, self._answer)
        self._connection = RelayConnection(
            Destination(address, tls, name, proxy, hello),
            pace or Pace(),
            # The system's generator: two silos must not draw alike.
            backoff or Backoff(random.SystemRandom()),
            clock,
            on_frame=self._receive,
            on_broken=self._lose,
        )

    def start(self) -> None:
        """Begin to connect, in the background.

        Raises:
            ConfigError: a TLS file cannot be used.
        """
        self._tls.read()
        self._connection.start()

    def close(self) -> None:
        """End the connection; requests in flight fail, handlers that run end unheard."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._connection.close()
        self._service.close()

    @property
    def connected(self) -> bool:
        """Whether the relay holds this silo's stream."""
        with self._changed:
            return self._presence.connected

    @property
    def why_not(self) -> str | None:
        """What keeps the link from being connected, in words; None while connected or not yet known."""
        with self._changed:
            return self._presence.why_not

    def present(self) -> set[str]:
        """The other silos that are connected now."""
        with self._changed:
            return set(self._presence.members - {self.name})

    def hello(self, silo: str) -> Hello:
        """What another silo speaks."""
        with self._changed:
            return self._presence.hello(silo)

    @property
    def relay(self) -> Hello | None:
        """What the relay said of itself; None while no stream stands."""
        return self._connection.relay if self.connected else None

    def wait_for(self, members: Iterable[str], *, seconds: float) -> bool:
        """Wait until all of ``members`` are connected (the link itself, if there are none); whether they are."""
        wanted = set(members)
        with self._changed:
            return self._changed.wait_for(
                lambda: self._presence.connected and wanted <= self._presence.members, seconds
            )

    def wait_for_presence(self, seen: int, *, seconds: float) -> int:
        """Wait until the relay told who is present more often than ``seen``; how often it has by now."""
        with self._changed:
            self._changed.wait_for(lambda: self._told > seen or self._closed, seconds)
            return self._told

    def newest(self, held: Mapping[str, str], *, seconds: float) -> dict[str, bytes]:
        """The consortium's documents that differ from those ``held``, see ``RelayStream.newest``.

        Raises:
            RelayError: there is no connection, or the relay gives none.
        """
        return self._connection.newest(held, seconds=seconds)

    def request(self, to: str, topic: str, body: bytes, *, deadline: float) -> bytes:
        """What silo ``to`` replies.

        Args:
            deadline: seconds, at most an hour.

        Raises:
            RelayError: no connection, the silo is not there, no reply in time, too much at once.
            PeerRefusal: the other silo refuses, and says why.
        """
        check(to, topic, body, deadline)
        ask = Ask(os.urandom(ID_BYTES), to, self._clock() + deadline)
        with self._changed:
            if len(self._asks) >= self._limits.requests:
                raise RelayError(f"{len(self._asks)} requests wait for replies", remedy="ask again when some came")
            self._asks[ask.message_id] = ask
        header = Frame(Kind.REQUEST, self.name, to, topic, ask.message_id)
        try:
            return result(ask, self._outcome(ask, Message(header, body, ask.until)))
        finally:
            with self._changed:
                del self._asks[ask.message_id]
            self._assembler.forget(Kind.REPLY, to, ask.message_id)
            outbox = self._connection.outbox
            if outbox is not None:
                outbox.drop(Kind.REQUEST, to, ask.message_id)

    def _outcome(self, ask: Ask, message: Message) -> Outcome:
        while True:
            self._wait_until_reachable(ask)
            outbox = self._connection.outbox
            if outbox is not None:
                outbox.drop(*message.key)
                message.sent, message.again = 0, False
                outbox.put(message)
            with self._changed:
                self._changed.wait_for(
                    lambda: ask.outcome or ask.is_lost or self._closed, max(0.0, ask.until - self._clock())
                )
                if ask.outcome is not None:
                    return ask.outcome
                if not ask.is_lost and not self._closed:
                    return Outcome(Status.EXPIRED, b"")

    def _wait_until_reachable(self, ask: Ask) -> None:
        with self._changed:
            while True:
                now, presence = self._clock(), self._presence
                if self._closed:
                    raise RelayError("the link to the relay is closed", remedy="start the agent")
                absent_since = presence.absent_since(ask.to)
                if presence.connected and absent_since is None:
                    ask.is_lost, ask.was_sent = False, True
                    return
                if not presence.connected:
                    # What was under way waits for the relay until its deadline.
                    until = ask.until if ask.was_sent else presence.since + self._limits.patience
                else:
                    until = (absent_since or now) + self._limits.patience
                if presence.is_final or now >= min(until, ask.until):
                    raise self._unreachable(ask)
                self._changed.wait(min(until, ask.until) - now)

    def _unreachable(self, ask: Ask) -> RelayError:
        if self._presence.connected:
            return RelayError(
                f"{ask.to} is not connected to the relay", remedy="ask its administrator, or go on without it"
            )
        return RelayError(
            self._presence.why_not or "the relay does not answer",
            remedy="check the relay's address, the proxy and the certificate, or ask the consortium's operator",
        )

    def _receive(self, frame: Frame) -> None:
        if frame.kind is Kind.PRESENCE:
            with self._changed:
                self._presence.tell(present(frame), self._clock())
                self._told += 1
                self._changed.notify_all()
        elif frame.kind is Kind.HELLO:
            with self._changed:
                self._presence.introduce(frame.sender, told(frame))
        elif frame.kind is Kind.REQUEST:
            self._take_request(frame)
        else:
            self._take_outcome(frame)

    def _take_request(self, frame: Frame) -> None:
        try:
            body = self._assembler.add(frame)
        except TooMuch:
            self._answer(frame, Outcome(Status.BUSY, b""), self._clock())
            return
        if body is not None:
            self._service.take(frame, body)

    def _take_outcome(self, frame: Frame) -> None:
        with self._changed:
            ask = self._asks.get(frame.message_id)
        if ask is None or (frame.sender != ask.to and not frame.status.from_relay):
            return
        if frame.kind is Kind.ERROR:
            body: bytes | None = bytes(frame.body)
        else:
            try:
                body = self._assembler.add(frame)
            except TooMuch:
                frame, body = Frame(Kind.ERROR, status=Status.FULL), b""
        if body is None:
            return
        with self._changed:
            if frame.status is Status.UNREACHABLE:
                self._presence.miss(ask.to, self._clock())
                ask.is_lost = True
            else:
                ask.outcome = Outcome(frame.status, body)
            self._changed.notify_all()

    def _answer(self, request: Frame, outcome: Outcome, until: float) -> None:
        """Send what a request came to; without a stream it is kept, and the asker comes again."""
        outbox = self._connection.outbox
        if outbox is None:
            return
        if outcome.status is Status.OK:
            header = Frame(Kind.REPLY, self.name, request.sender, message_id=request.message_id)
            outbox.put(Message(header, outcome.body, until))
        else:
            outbox.tell(error_frame(request, outcome))

    def _lose(self, why_not: str, is_final: bool) -> None:
        self._assembler.clear()
        with self._changed:
            self._presence.lose(why_not, self._clock(), is_final=is_final)
            for ask in self._asks.values():
                ask.is_lost = True
            self._changed.notify_all()
