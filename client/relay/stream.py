"""One stream to the relay: gRPC over mutual TLS, opened from inside the hospital."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum

import grpc

from common.errors import RelayError, VersionError
from common.transport.documents import gather, write_request
from common.transport.tls import TlsFiles
from common.transport.wire import GREET, MAX_FRAME, METHOD, NEWEST, SERVICE
from common.versions import METADATA, Hello, agree


class Broken(Enum):
    """Why a stream ended; the value is for people."""

    LOST = "the relay cannot be reached"
    UNKNOWN = "the relay does not know this hospital's certificate, or the roster no longer lists it"
    REPLACED = "another process of this hospital is connected to the relay"
    FAULTY = "the relay refused what this side sent; check that both run the same release"
    VERSION = "the relay and this silo run releases that do not fit together"


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
        own: what this silo says of itself.

    Raises:
        ConfigError: a TLS file cannot be used.
    """

    def __init__(
        self, address: str, tls: TlsFiles, outgoing: Iterator[bytes], *, proxy: str | None, own: Hello
    ) -> None:
        self._own, self._channel = own, _channel(address, tls, proxy)
        attach = self._channel.stream_stream(f"/{SERVICE}/{METHOD}")
        self._call = attach(outgoing, metadata=((METADATA, own.text),))
        self.broken: Broken | None = None
        self.relay: Hello | None = None
        """What the relay said of itself, once a frame came."""
        self.disagreement = ""
        """In words, where ``broken`` is VERSION."""

    def __iter__(self) -> Iterator[bytes]:
        """Frames as they come; ends when the stream does, and ``broken`` says why."""
        try:
            for raw in self._call:
                # An older relay has admitted this silo by now; nothing was sent to anybody.
                self.relay = self.relay or self._agreed()
                yield raw
            self.broken = Broken.LOST
        except VersionError as error:
            self._disagree(error)
        except grpc.RpcError:
            self.broken = _MEANING.get(self._call.code(), Broken.LOST)
            if self.broken is Broken.FAULTY and self.relay is None:
                try:
                    self._agreed()
                except VersionError as error:
                    self._disagree(error)

    def close(self) -> None:
        """Cut the stream, from any thread; iteration ends."""
        self._call.cancel()

    def release(self) -> None:
        """Give back the connection, after iteration ended."""
        self._channel.close()

    def newest(self, held: Mapping[str, str], *, seconds: float) -> dict[str, bytes]:
        """The consortium's documents that differ from those ``held`` (name -> SHA-256), over the same connection.

        Raises:
            RelayError: the relay hands out none, or not now, or more than there may be.
        """
        why = "does not hand them out now"
        try:
            call = self._channel.unary_stream(f"/{SERVICE}/{NEWEST}")(write_request(held), timeout=seconds)
        except ValueError as error:  # the connection was given back meanwhile
            raise RelayError(f"the consortium's documents: the relay {why}", remedy="ask again") from error
        try:
            return gather(call)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                why = "hands out none"
            raise RelayError(f"the consortium's documents: the relay {why}", remedy="join with a kit") from error
        finally:
            call.cancel()

    def _agreed(self) -> Hello:
        """The relay's hello; a relay of before versions sends none.

        Raises:
            VersionError: it speaks no version of the relay's protocol that this silo speaks.
        """
        found = [value for key, value in self._call.initial_metadata() or () if key == METADATA]
        theirs = Hello.from_text(str(found[0]) if found else "")
        agree(self._own, theirs, ["relay"], we="this silo", they="the relay")
        return theirs

    def _disagree(self, error: VersionError) -> None:
        self.broken, self.disagreement = Broken.VERSION, str(error)
        self._call.cancel()


def relay_hello(address: str, tls: TlsFiles, *, proxy: str | None, seconds: float) -> Hello:
    """What the relay says of itself, asked without attaching; an agent that is connected stays so.

    Raises:
        ConfigError: a TLS file cannot be used.
        RelayError: it does not answer, or answers nothing that can be read.
    """
    with _channel(address, tls, proxy) as channel:
        try:
            return Hello.from_text(channel.unary_unary(f"/{SERVICE}/{GREET}")(b"", timeout=seconds).decode())
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                return Hello.from_text("")
            meaning = _MEANING.get(error.code(), Broken.LOST).value
            raise RelayError(f"the relay's release is not known: {meaning}", remedy="mend that first") from error
        except (UnicodeDecodeError, VersionError) as error:
            raise RelayError("the relay's answer cannot be read", remedy="tell the operator") from error


def _channel(address: str, tls: TlsFiles, proxy: str | None) -> grpc.Channel:
    certificate, key, authority = tls.read()
    credentials = grpc.ssl_channel_credentials(authority, key, certificate)
    return grpc.secure_channel(address, credentials, options=_options(proxy))


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
