"""Keeps one stream to the relay: opens it, watches its heartbeats, opens it anew."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from client.relay.outbox import Outbox
from client.relay.stream import Broken, RelayStream
from common.errors import PhenofedError, RelayError
from common.transport.backoff import Backoff
from common.transport.notices import granted
from common.transport.tls import TlsFiles
from common.transport.wire import Frame, Kind, parse
from common.versions import OWN, Hello

LOG = logging.getLogger("phenofed.link")


@dataclass(frozen=True)
class Destination:
    """Where the relay is, and as whom to go there; ``proxy`` and ``hello`` as in ``RelayStream``."""

    address: str
    tls: TlsFiles
    name: str
    proxy: str | None = None
    hello: Hello = OWN


@dataclass(frozen=True)
class Pace:
    """Seconds: between heartbeats (the relay's own may differ), and for a stream to open; heartbeats missed."""

    heartbeat: float = 20.0
    missed: int = 3
    opening: float = 15.0


class RelayConnection:
    """Two threads: one holds and watches the stream, one reads it.

    Args:
        on_frame: called with every frame but heartbeats and credits; the first of a stream tells who is present.
        on_broken: called with what is wrong, and whether only people can mend it.
    """

    def __init__(
        self,
        destination: Destination,
        pace: Pace,
        backoff: Backoff,
        clock: Callable[[], float],
        *,
        on_frame: Callable[[Frame], None],
        on_broken: Callable[[str, bool], None],
    ) -> None:
        self.outbox: Outbox | None = None
        self.relay: Hello | None = None
        """What the relay of the newest stream said of itself."""
        self._destination = destination
        self._pace = pace
        self._backoff = backoff
        self._clock = clock
        self._on_frame = on_frame
        self._on_broken = on_broken
        self._closing = threading.Event()
        self._stream: RelayStream | None = None
        self._is_open = False
        self._heard = 0.0
        self._wrong_name: str | None = None
        self._thread = threading.Thread(target=self._run, name="relay-link", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def close(self) -> None:
        """End the stream and the threads."""
        self._closing.set()
        stream = self._stream
        if stream is not None:
            stream.close()
        if self._thread.is_alive():
            self._thread.join()

    def newest(self, held: Mapping[str, str], *, seconds: float) -> dict[str, bytes]:
        """See ``RelayStream.newest``.

        Raises:
            RelayError: no stream stands, or as there.
        """
        stream = self._stream
        if stream is None:
            raise RelayError("there is no connection to the relay", remedy="wait for it")
        return stream.newest(held, seconds=seconds)

    def _run(self) -> None:
        while not self._closing.is_set():
            why_not, is_final = self._hold()
            LOG.info("not connected to the relay: %s", why_not)
            self._on_broken(why_not, is_final)
            self._closing.wait(self._backoff.next())

    def _hold(self) -> tuple[str, bool]:
        """Hold one stream until it breaks."""
        outbox = Outbox(self._clock)
        outgoing = iter(lambda: outbox.next(self._pace.heartbeat), None)
        self._is_open, self._heard, self._wrong_name = False, self._clock(), None
        try:
            to = self._destination
            stream = RelayStream(to.address, to.tls, outgoing, proxy=to.proxy, own=to.hello)
        except PhenofedError as error:
            return str(error), False
        self.outbox, self._stream = outbox, stream
        ended = threading.Event()
        reader = threading.Thread(
            target=self._read, args=(stream, outbox, ended), name="relay-reader", daemon=True
        )
        reader.start()
        while not ended.wait(min(self._pace.heartbeat / 4, 0.5)):
            if self._closing.is_set() or self._is_silent():
                stream.close()
        reader.join()
        self.outbox, self._stream = None, None
        outbox.close()
        stream.release()
        if self._wrong_name is not None:
            return f"the relay knows this certificate as '{self._wrong_name}'", True
        broken = stream.broken or Broken.LOST
        if broken in (Broken.REPLACED, Broken.FAULTY, Broken.VERSION):
            self._backoff.give_way()
        if broken is Broken.VERSION:
            return stream.disagreement, True
        return broken.value, broken is Broken.UNKNOWN

    def _is_silent(self) -> bool:
        allowed = self._pace.heartbeat * self._pace.missed if self._is_open else self._pace.opening
        return self._clock() - self._heard > allowed

    def _read(self, stream: RelayStream, outbox: Outbox, ended: threading.Event) -> None:
        try:
            for raw in stream:
                self._heard, self.relay = self._clock(), stream.relay
                self._take(parse(raw), outbox)
        except RelayError as error:
            LOG.warning("the relay's stream is cut: %s", error.what)
            stream.close()
        finally:
            ended.set()

    def _take(self, frame: Frame, outbox: Outbox) -> None:
        if frame.kind is Kind.HEARTBEAT:
            return
        if frame.receiver != self._destination.name:
            self._wrong_name = frame.receiver
            raise RelayError("it is meant for another silo", remedy="check the silo's name and its certificate")
        if frame.kind is Kind.CREDIT:
            outbox.grant(frame.sender, granted(frame))
            return
        if not self._is_open:
            self._is_open = True
            self._backoff.reset()
        self._on_frame(frame)
