"""A relay and silos on loopback with real certificates, and the proxies that stand between them in hospitals."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc

from client.relay.connection import Pace
from client.relay.link import LinkLimits, RelayLink
from client.relay.service import Handler
from common.transport.backoff import Backoff
from common.transport.tls import TlsFiles
from common.transport.wire import METHOD, SERVICE
from common.versions import OWN, Hello
from server.relay.limits import Limits
from server.relay.relay import Relay
from tests.tls_files import Authority

PATIENT = 20.0


class RelayConsortium:
    """One relay at a time, always at the same port; everything that was made is closed by ``close``."""

    def __init__(self, folder: Path, *members: str, limits: Limits | None = None, hello: Hello = OWN) -> None:
        self.authority = Authority(folder)
        self.roster = {self.authority.spki(name): name for name in members}
        self._limits, self._hello = limits, hello
        self._tls = self.authority.relay()
        self._links: list[RelayLink] = []
        self.relay = self._started("127.0.0.1:0")
        self.address = f"127.0.0.1:{self.relay.port}"

    def restart(self) -> None:
        """Begin anew what ``relay.stop`` ended."""
        self.relay = self._started(self.address)

    def revoke(self, name: str) -> None:
        """Take a silo off the roster and tell the relay."""
        del self.roster[self.authority.spki(name)]
        self.relay.recheck()

    def link(self, name: str, handler: Handler = lambda sender, topic, body: body, **settings: Any) -> RelayLink:
        """A silo's link, started; quick to return and quick to give up unless ``settings`` say otherwise."""
        link = RelayLink(
            settings.pop("address", self.address),
            settings.pop("tls", None) or self.authority.silo(name),
            name,
            handler,
            limits=settings.pop("limits", LinkLimits(patience=0.2)),
            pace=settings.pop("pace", Pace(opening=5)),
            backoff=Backoff(random.Random(name), first=0.02, ceiling=0.2),
            **settings,
        )
        self._links.append(link)
        link.start()
        return link

    def links(self, *names: str, **settings: Any) -> list[RelayLink]:
        """Links of several silos, all connected."""
        made = [self.link(name, **settings) for name in names]
        for link in made:
            assert link.wait_for(names, seconds=PATIENT), link.why_not
        return made

    def close(self) -> None:
        """End all links and the relay."""
        for link in self._links:
            link.close()
        self.relay.stop()

    def _started(self, address: str) -> Relay:
        relay = Relay(
            address, self._tls, lambda spki: self.roster.get(spki), limits=self._limits, hello=self._hello
        )
        relay.start()
        return relay


class Gate:
    """A handler that says when it was asked, and answers when it may."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.open = threading.Event()
        self.calls = 0

    def __call__(self, sender: str, topic: str, body: bytes) -> bytes:
        self.calls += 1
        self.asked.set()
        assert self.open.wait(PATIENT)
        return body[::-1]


@contextlib.contextmanager
def raw_stream(address: str, tls: TlsFiles, outgoing: Iterator[bytes]) -> Iterator[Any]:
    """A stream to the relay without a link's manners; yields gRPC's call."""
    certificate, key, authority = tls.read()
    with grpc.secure_channel(address, grpc.ssl_channel_credentials(authority, key, certificate)) as channel:
        call = channel.stream_stream(f"/{SERVICE}/{METHOD}")(outgoing, timeout=PATIENT)
        yield call
        call.cancel()


class Proxy:
    """Forwards TCP connections, to ``target`` or to where HTTP CONNECT says; cuts those that are idle.

    Args:
        idle: seconds without a byte after which a connection is cut.
    """

    def __init__(self, target: str | None = None, *, idle: float | None = None) -> None:
        self._target = target
        self._idle = idle
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0
        self.cut = threading.Event()
        self.pieces = threading.Semaphore(0)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Accept no more."""
        # Closing alone does not wake the thread that accepts.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        with near, contextlib.suppress(OSError):
            target = self._target or self._connected_to(near)
            host, _, port = target.rpartition(":")
            with socket.create_connection((host, int(port))) as far:
                near.settimeout(self._idle)
                far.settimeout(self._idle)
                threading.Thread(target=self._pump, args=(far, near), daemon=True).start()
                self._pump(near, far)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                sink.sendall(data)
                self.pieces.release()
        except TimeoutError:
            self.cut.set()
        except OSError:
            pass
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def _connected_to(near: socket.socket) -> str:
        head = b""
        while b"\r\n\r\n" not in head:
            head += near.recv(4096)
        method, target, _ = head.split(b" ", 2)
        assert method == b"CONNECT"
        near.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        return target.decode()
