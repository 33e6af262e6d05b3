"""The relay: passes sealed bytes between silos over gRPC and mutual TLS, and holds no key but its own for TLS.

    relay = Relay("0.0.0.0:8443", tls, authorised=roster_lookup)
    relay.start()
    ...
    relay.recheck()      # the roster changed: who is no longer on it is cut off at once
    relay.stop()

Every silo keeps one outbound stream. It is who its certificate's public key says (SHA-256 of the
SubjectPublicKeyInfo); no name in a frame counts beyond that. One event loop in a thread of its own serves all
streams: the state needs no locks, and a silo that is idle or slow costs no thread.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import grpc

from common.errors import RelayError
from common.transport.tls import TlsFiles, spki_of
from common.transport.wire import GREET, MAX_FRAME, METHOD, NEWEST, SERVICE, is_name
from common.versions import OWN, Hello
from server.relay.exchange import LOG, Exchange
from server.relay.greeting import greet
from server.relay.limits import Limits
from server.relay.line import End
from server.relay.metrics import RelayMetrics
from server.relay.newest import Askers, NewestDocuments, hand_out
from server.relay.stream import carry
from server.relay.tls import followed

_OPTIONS = [
    ("grpc.max_receive_message_length", 2 * MAX_FRAME),
    ("grpc.max_send_message_length", 2 * MAX_FRAME),
    ("grpc.max_metadata_size", 8192),
    ("grpc.max_concurrent_streams", 4),
    # Whoever connects and says nothing is let go.
    ("grpc.server_handshake_timeout_ms", 10_000),
    # Two relays on one port would each serve half of the silos.
    ("grpc.so_reuseport", 0),
]
_START_SECONDS = 20


class Relay:
    """Start it once.

    Args:
        address: ``host:port``; port 0 leaves the choice to the system, see ``port``.
        authorised: the member's name for an SPKI hash (64 hexadecimal digits), None for a stranger. Asked at each
            connection and by ``recheck``, in the relay's thread: it must be quick.
        hello: what the relay says of itself.
        documents: what members may have of the consortium's documents; None hands out none.
    """

    def __init__(
        self,
        address: str,
        tls: TlsFiles,
        authorised: Callable[[str], str | None],
        *,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
        hello: Hello = OWN,
        documents: NewestDocuments | None = None,
    ) -> None:
        self.address = address
        self._hello = hello
        self.documents, self._askers = documents, Askers(clock)
        self.port = 0
        self.metrics = RelayMetrics()
        self._tls = tls
        self._authorised = authorised
        self._limits = limits or Limits()
        self._exchange = Exchange(self._limits, self.metrics, clock)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started = threading.Event()
        self._failed: Exception | None = None

    @property
    def connected(self) -> frozenset[str]:
        """Names of the silos whose streams stand."""
        return frozenset(line.name for line in self._exchange.lines)

    def start(self) -> None:
        """Listen; returns when silos can connect.

        Raises:
            ConfigError: a TLS file cannot be used.
            RelayError: the address cannot be listened at.
        """
        credentials = followed(self._tls)
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(credentials)), name="relay", daemon=True
        )
        self._thread.start()
        self._started.wait(_START_SECONDS)
        if self._failed is not None or not self.port:
            raise RelayError(
                f"the relay cannot listen at {self.address}",
                remedy="check that address, port, certificate and key are right and the port is free",
            ) from self._failed

    def recheck(self) -> None:
        """Ask anew who is authorised, and end the streams of those who are not; returns when that is done.

        The others are told who is present, and look for newer documents then.
        """
        self._in_loop(self._recheck())

    def answers(self, seconds: float) -> bool:
        """Whether the relay's thread still takes its turns, asked for so long."""
        if self._loop is None or self._thread is None or not self._thread.is_alive():
            return False
        turn = threading.Event()
        self._loop.call_soon_threadsafe(turn.set)
        return turn.wait(seconds)

    def stop(self) -> None:
        """Tell all silos and end; they come back by themselves when a relay does. Does nothing the second time."""
        if self._thread is not None and self._thread.is_alive():
            self._in_loop(self._stop())
            self._thread.join()

    async def _serve(self, credentials: grpc.ServerCredentials) -> None:
        server = grpc.aio.server(options=_OPTIONS)
        handlers = {
            METHOD: grpc.stream_stream_rpc_method_handler(self._attach),
            GREET: grpc.unary_unary_rpc_method_handler(self._greet),
            NEWEST: grpc.unary_stream_rpc_method_handler(self._newest),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        try:
            self.port = server.add_secure_port(self.address, credentials)
            await server.start()
        except RuntimeError as error:
            self._failed = error
            return
        finally:
            self._started.set()
        pace = min(self._limits.heartbeat_seconds / 4, 0.25)
        while not self._stopping.is_set():
            self._exchange.tick()
            await _within(self._stopping.wait(), pace)
        for line in self._exchange.lines:
            self._exchange.detach(line, End.STOPPED)
        await server.stop(grace=1.0)

    async def _attach(self, _: Any, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        name, spki = await self._admit(context)
        hello, version = await greet(context, name, own=self._hello, metrics=self.metrics)
        line = await carry(self._exchange, name, spki, context, hello=hello, version=version)
        if line.ended is not None:
            code = _CODES.get(line.ended, grpc.StatusCode.UNAVAILABLE)
            # Where nothing is read this waits until the connection ends; the exchange has forgotten the silo.
            await context.abort(code, line.ended.value)

    async def _greet(self, _: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        """What the relay says of itself, to a member that asks without attaching."""
        await self._admit(context)
        return self._hello.text.encode()

    async def _newest(self, request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        name, _ = await self._admit(context)
        await hand_out(name, request, context, self.documents, self._askers, self._exchange.connected())

    async def _admit(self, context: grpc.aio.ServicerContext[bytes, bytes]) -> tuple[str, str]:
        """The member's name and SPKI; a stranger's call ends here."""
        name, spki = self._identify(context)
        if name is None:
            self.metrics.refused("", "unknown", key=spki)
            extra = {"event": "silo.refused", "reason": "unknown"}
            LOG.warning("refused a certificate that is not on the roster", extra=extra)
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, End.UNKNOWN.value)
        return str(name), spki

    def _identify(self, context: grpc.aio.ServicerContext[bytes, bytes]) -> tuple[str | None, str]:
        certificates = context.auth_context().get("x509_pem_cert", [])
        try:
            spki = spki_of(bytes(certificates[0]))
        except (IndexError, ValueError):
            return None, ""
        name = self._authorised(spki)
        return (name if name is not None and is_name(name) else None), spki

    async def _recheck(self) -> None:
        for line in self._exchange.lines:
            if self._authorised(line.spki) != line.name:
                self.metrics.refused(line.name, "revoked", key=line.spki)
                self._exchange.detach(line, End.UNKNOWN)
        self._exchange.tell_presence()

    async def _stop(self) -> None:
        self._stopping.set()

    def _in_loop(self, action: Coroutine[Any, Any, None]) -> None:
        if self._loop is None or self._thread is None or not self._thread.is_alive():
            action.close()
            return
        asyncio.run_coroutine_threadsafe(action, self._loop).result(_START_SECONDS)


_CODES = {
    End.UNKNOWN: grpc.StatusCode.PERMISSION_DENIED,
    End.REPLACED: grpc.StatusCode.ABORTED,
    End.FAULTY: grpc.StatusCode.INVALID_ARGUMENT,
}


async def _within(event: Awaitable[Any], seconds: float) -> None:
    try:
        await asyncio.wait_for(event, seconds)
    except TimeoutError:
        return
