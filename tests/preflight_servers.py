"""What may stand at a relay's address or on the way to it: other people's TLS servers, proxies that refuse."""

from __future__ import annotations

import contextlib
import datetime
import email.utils
import socket
import ssl
import threading
from collections.abc import Callable, Iterator

from common.transport.tls import TlsFiles


@contextlib.contextmanager
def server(answer: Callable[[socket.socket], None], port: int = 0) -> Iterator[int]:
    """Listen on loopback and hand each connection to ``answer``; yields the port."""
    listener = socket.create_server(("127.0.0.1", port))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(10)
                    answer(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def interceptor(tls: TlsFiles, date: datetime.datetime | None = None) -> Callable[[socket.socket], None]:
    """A TLS server with these files; it tells the time to whoever speaks HTTP/1.1, where ``date`` is given."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls.certificate, tls.key)
    context.set_alpn_protocols(["h2", "http/1.1"])

    def answer(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secured:
            if secured.selected_alpn_protocol() == "http/1.1" and secured.recv(4096) and date is not None:
                told = email.utils.format_datetime(date.astimezone(datetime.UTC), usegmt=True)
                secured.sendall(f"HTTP/1.1 404 Not Found\r\ndate: {told}\r\n\r\n".encode())

    return answer


def refusing_proxy(status: str, date: datetime.datetime | None = None) -> Callable[[socket.socket], None]:
    """An HTTP proxy that answers every request with ``status``."""
    told = f"Date: {email.utils.format_datetime(date, usegmt=True)}\r\n" if date else ""

    def answer(connection: socket.socket) -> None:
        if connection.recv(4096).startswith(b"CONNECT "):
            connection.sendall(f"HTTP/1.1 {status}\r\n{told}Content-Length: 0\r\n\r\n".encode())

    return answer


def plain(connection: socket.socket) -> None:
    """A server that knows nothing of TLS."""
    connection.recv(4096)
    connection.sendall(b"220 welcome\r\n")
