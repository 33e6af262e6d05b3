"""One stream to the relay: gRPC over mutual TLS, opened from inside the hospital."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

import grpc

from common.transport.tls import TlsFiles
from common.transport.wire import MAX_FRAME, METHOD, SERVICE


class Broken(Enum):
    """Why a stream ended; the value is for people."""

    LOST = "the relay cannot be reached"
    UNKNOWN = "the relay does not know this hospital's certificate, or the roster no longer lists it"
    REPLACED = "another process of this hospital is connected to the relay"
    FAULTY = "the relay refused what this side sent; check that both run the same release"


_MEANING = {
    grpc.StatusCode.PERMISSION_DENIED: Broken.UNKNOWN,
    grpc.StatusCode.ABORTED: Broken.REPLACED,
    grpc.StatusCode.INVALID_ARGUMENT: Broken.FAULTY,
}


class RelayStream:
    """Opened by its construction.

    Args:
        address: ``host:port`` of the relay.
        proxy: ``host:port`` of an HTTP proxy to tunnel through (CONNECT); without one the connection is direct,
            whatever the environment says, since the proxy is a setting of the silo's policy.
        outgoing: frames to send; asked for the next one whenever the one before has left.

    Raises:
        ConfigError: a TLS file cannot be used.
    """

    def __init__(self, address: str, tls: TlsFiles, outgoing: Iterator[bytes], *, proxy: str | None) -> None:
        certificate, key, authority = tls.read()
        credentials = grpc.ssl_channel_credentials(authority, key, certificate)
        self._channel = grpc.secure_channel(address, credentials, options=_options(proxy))
        self._call = self._channel.stream_stream(f"/{SERVICE}/{METHOD}")(outgoing)
        self.broken: Broken | None = None

    def __iter__(self) -> Iterator[bytes]:
        """Frames as they come; ends when the stream does, and ``broken`` says why."""
        try:
            yield from self._call
            self.broken = Broken.LOST
        except grpc.RpcError:
            self.broken = _MEANING.get(self._call.code(), Broken.LOST)

    def close(self) -> None:
        """Cut the stream, from any thread; iteration ends."""
        self._call.cancel()

    def release(self) -> None:
        """Give back the connection, after iteration ended."""
        self._channel.close()


def _options(proxy: str | None) -> list[tuple[str, object]]:
    options: list[tuple[str, object]] = [
        ("grpc.max_receive_message_length", 2 * MAX_FRAME),
        ("grpc.max_send_message_length", 2 * MAX_FRAME),
        # Each attempt is a connection of its own; the link's back-off is the only one.
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_retries", 0),
        ("grpc.enable_http_proxy", int(proxy is not None)),
    ]
    if proxy is not None:
        options.append(("grpc.http_proxy", proxy if "://" in proxy else f"http://{proxy}"))
    return options
