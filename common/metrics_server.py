"""Prometheus' text format over HTTP, on loopback alone."""

from __future__ import annotations

import threading
from typing import Self
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Gauge, start_http_server

from common.versions import SOFTWARE


class MetricsServer:
    """Serves a registry until it is closed.

    Args:
        port: 0 leaves the choice to the system, see ``port``.

    Raises:
        OSError: the port is taken.
    """

    def __init__(self, registry: CollectorRegistry, port: int) -> None:
        found: tuple[WSGIServer, threading.Thread] = start_http_server(port, addr="127.0.0.1", registry=registry)
        self._server, self._thread = found
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
