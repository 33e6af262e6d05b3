"""Prometheus' text format at ``/metrics`` and a health check at ``/healthz`` over HTTP, on loopback alone."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, Gauge, make_wsgi_app

from common.versions import SOFTWARE

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

Ailing = Callable[[], str | None]
"""What is wrong, in one line; None where all is well."""

CONNECTIONS, PATIENCE = 8, 10.0
"""Connections at once, and seconds of silence after which one is let go: any user of the machine can connect."""

_MOST_LETTERS = 200


class MetricsServer:
    """Serves a registry until it is closed.

    Args:
        port: 0 leaves the choice to the system, see ``port``.
        ailing: asked at each health check, which answers 200 and 'ok', or 503 and what is wrong.

    Raises:
        OSError: the port is taken.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        port: int,
        *,
        ailing: Ailing = lambda: None,
        patience: float = PATIENCE,
    ) -> None:
        metrics = make_wsgi_app(registry)

        def application(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
            if environ.get("PATH_INFO") == "/healthz":
                return _health(ailing, start)
            try:
                return metrics(environ, start)
            except Exception:
                # What it accepts cannot be read; a trace of that for each request would fill the log.
                start("400 Bad Request", [("Content-Type", "text/plain; charset=utf-8")])
                return [b"the request cannot be read\n"]

        handler = type("_Patient", (_Quiet,), {"timeout": patience})
        self._server = make_server("127.0.0.1", port, application, _Server, handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        self._thread.start()
        self.port = int(self._server.server_port)

    def close(self) -> None:
        """End the service and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def show_build(registry: CollectorRegistry) -> None:
    """Show the release that runs."""
    about = "1 for the release of phenofed that runs"
    Gauge("phenofed_build_info", about, ["version"], registry=registry).labels(SOFTWARE).set(1)


def _health(ailing: Ailing, start: StartResponse) -> list[bytes]:
    try:
        wrong = ailing()
    except Exception as error:
        # Its text may quote data.
        wrong = f"the health check failed ({type(error).__name__})"
    line = "".join(letter for letter in wrong or "ok" if letter.isprintable())[:_MOST_LETTERS]
    status = "200 OK" if wrong is None else "503 Service Unavailable"
    start(status, [("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store")])
    return [f"{line}\n".encode()]


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    """A thread a connection, of which there are few; who comes when all are taken is turned away."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        self._room = threading.Semaphore(CONNECTIONS)
        super().__init__(*arguments, **settings)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._room.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, *_: Any) -> None:
        """Say nothing: a client that breaks off is no fault."""


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Say nothing: who scrapes is no news."""
