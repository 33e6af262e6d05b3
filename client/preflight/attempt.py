"""One try at the relay, step by step as the agent would go: name, proxy, port, TLS; and how far it came.

The handshake trusts anybody, since what is wanted is the certificate of whoever answers. Nothing is sent inside
it but one request for the time, and the connection is closed.
"""

from __future__ import annotations

import datetime
import email.utils
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum

from cryptography import x509

_HEAD_BYTES = 16 << 10


class Step(IntEnum):
    """How far a try came; the step named is the one that failed, ``DONE`` where none did."""

    NAME = 0
    PROXY = 1
    PORT = 2
    TLS = 3
    DONE = 4


@dataclass(frozen=True)
class Attempt:
    """What a try showed.

    Attributes:
        why: what was wrong at ``step``, in words; empty where all was well.
        addresses: what the name of the relay, or of the proxy where there is one, resolves to.
        certificate: what was presented, whoever it was.
        date: what the other side's clock says, where one told.
        told_by: who told the time.
    """

    step: Step
    why: str = ""
    addresses: tuple[str, ...] = ()
    certificate: x509.Certificate | None = None
    date: datetime.datetime | None = None
    told_by: str = ""


def attempt(host: str, port: int, proxy: tuple[str, int] | None, *, seconds: float) -> Attempt:
    """Try once.

    Args:
        proxy: HTTP proxy to tunnel through with CONNECT.
        seconds: for each step.
    """
    near = proxy or (host, port)
    try:
        found = socket.getaddrinfo(*near, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        return Attempt(Step.NAME, _words(error))
    addresses = tuple(dict.fromkeys(str(address[4][0]) for address in found))
    try:
        connection = socket.create_connection(near, timeout=seconds)
    except OSError as error:
        return Attempt(Step.PROXY if proxy else Step.PORT, _words(error), addresses)
    with connection:
        date, told_by = None, ""
        if proxy:
            try:
                head = _tunnel(connection, host, port)
            except OSError as error:
                return Attempt(Step.PROXY, _words(error), addresses)
            date, told_by = _date(head), "the proxy"
            status = head.split("\r\n", 1)[0].partition(" ")[2]
            if not status.startswith("2"):
                return Attempt(Step.PORT, status.strip() or "no HTTP answer", addresses, None, date, told_by)
        try:
            certificate = _presented(connection, host)
        except (OSError, ValueError, x509.InvalidVersion) as error:
            return Attempt(Step.TLS, _words(error), addresses, None, date, told_by)
    if date is None:
        date, told_by = (
            _asked_date(near, host, port, proxied=proxy is not None, seconds=seconds),
            "the relay's side",
        )
    return Attempt(Step.DONE, "", addresses, certificate, date, told_by if date else "")


def _tunnel(connection: socket.socket, host: str, port: int) -> str:
    """The proxy's answer to CONNECT, without its body."""
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    connection.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    return _head(connection)


def _head(connection: socket.socket) -> str:
    content = b""
    while b"\r\n\r\n" not in content and len(content) < _HEAD_BYTES:
        # Byte by byte: what follows the head of a tunnel belongs to TLS.
        piece = connection.recv(1)
        if not piece:
            break
        content += piece
    return content.decode("latin-1")


def _presented(connection: socket.socket, host: str) -> x509.Certificate:
    with _stranger(["h2"]).wrap_socket(connection, server_hostname=host) as secured:
        content = secured.getpeercert(binary_form=True)
    if not content:
        raise ValueError("no certificate was presented")
    return x509.load_der_x509_certificate(content)


def _asked_date(
    near: tuple[str, int], host: str, port: int, *, proxied: bool, seconds: float
) -> datetime.datetime | None:
    """The Date of an HTTP answer, where a web server stands in front of the relay or took its place."""
    with suppress(OSError), socket.create_connection(near, timeout=seconds) as connection:
        if proxied:
            _tunnel(connection, host, port)
        with _stranger(["http/1.1"]).wrap_socket(connection, server_hostname=host) as secured:
            secured.sendall(f"HEAD / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            return _date(_head(secured))
    return None


def _stranger(protocols: list[str]) -> ssl.SSLContext:
    """A context that shakes hands with anybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(protocols)
    return context


def _date(head: str) -> datetime.datetime | None:
    for line in head.split("\r\n")[1:]:
        name, _, value = line.partition(":")
        if name.strip().lower() == "date":
            with suppress(ValueError):
                found = email.utils.parsedate_to_datetime(value.strip())
                return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)
    return None


def _words(error: Exception) -> str:
    """The error without its number, printable."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLError):
        return f"the other side speaks no TLS ({error.reason or 'handshake failed'})"
    text = getattr(error, "strerror", None) or str(error)
    return "".join(letter for letter in text if letter.isprintable())[:200]
