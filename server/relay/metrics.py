"""What an operator may watch: names, counts, sizes and times; never topics or content."""

from __future__ import annotations

import datetime
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from common.consortium.certificates import read_certificate
from common.errors import ConfigError, RelayError
from common.metrics_server import Ailing, MetricsServer, show_build
from common.transport.wire import Kind

_SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300)


class RelayMetrics:
    """The figures of one relay, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._connected = Gauge(
            "phenofed_relay_connected", "1 while the silo is connected", ["silo"], registry=self.registry
        )
        self._messages = Counter(
            "phenofed_relay_messages", "Messages begun", ["silo", "kind"], registry=self.registry
        )
        self._bytes = Counter(
            "phenofed_relay_bytes", "Bytes of frames passed", ["silo", "to"], registry=self.registry
        )
        self._refused = Counter(
            "phenofed_relay_refusals", "What was refused, and why", ["silo", "reason"], registry=self.registry
        )
        self._waiting = Gauge(
            "phenofed_relay_queue_bytes", "Bytes that wait for the silo", ["silo"], registry=self.registry
        )
        self._seconds = Histogram(
            "phenofed_relay_answer_seconds",
            "From a request's first frame to its reply's last",
            ["silo"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._runs = Gauge(
            "phenofed_relay_silo_software",
            "1 for the release of phenofed that a connected silo runs",
            ["silo", "version"],
            registry=self.registry,
        )
        self._software: dict[str, str] = {}
        show_build(self.registry)
        self._server: MetricsServer | None = None
        self.on_refusal: Callable[[str, str, str], None] = lambda silo, reason, key: None
        """Told of each refusal too: silo, reason, key."""

    def connected(self, silo: str, is_connected: bool, software: str = "") -> None:
        """A stream began, of a silo that runs this release, or ended."""
        self._connected.labels(silo).set(is_connected)
        former = self._software.pop(silo, None)
        if former is not None:
            self._runs.remove(silo, former)
        if is_connected:
            self._software[silo] = software
            self._runs.labels(silo, software).set(1)

    def passed(self, silo: str, to: str, kind: Kind, size: int, *, first: bool) -> None:
        """A frame was let through; the first of a message counts the message."""
        self._bytes.labels(silo, to).inc(size)
        if first:
            self._messages.labels(silo, kind.name.lower()).inc()

    def refused(self, silo: str, reason: str, *, key: str = "") -> None:
        """A silo was refused something; ``silo`` is empty for a stranger, of whom ``key`` tells."""
        self._refused.labels(silo, reason).inc()
        self.on_refusal(silo, reason, key)

    def waits(self, silo: str, size: int) -> None:
        """So many bytes wait for the silo."""
        self._waiting.labels(silo).set(size)

    def answered(self, silo: str, seconds: float) -> None:
        """The silo answered a request."""
        self._seconds.labels(silo).observe(seconds)

    def watch_certificate(self, content: Callable[[], bytes]) -> None:
        """Show the days until the certificate ends that ``content`` gives (PEM), read at each scrape."""
        gauge = Gauge(
            "phenofed_relay_certificate_expires_days",
            "Until the relay's TLS certificate ends; NaN where it cannot be read",
            registry=self.registry,
        )
        gauge.set_function(lambda: days_left(content))

    def value(self, name: str, **labels: str) -> float:
        """One figure, 0 where nothing was counted yet."""
        return self.registry.get_sample_value(f"phenofed_relay_{name}", labels) or 0.0

    def serve(self, port: int, *, ailing: Ailing = lambda: None) -> int:
        """Serve ``/metrics`` and ``/healthz`` on loopback; returns the port, which 0 leaves to the system.

        Args:
            ailing: what is wrong with the relay, see ``MetricsServer``.

        Raises:
            RelayError: the port is taken.
        """
        try:
            self._server = MetricsServer(self.registry, port, ailing=ailing)
        except OSError as error:
            raise RelayError(
                f"cannot serve metrics on port {port} ({error.strerror})", remedy="set another metrics_port"
            ) from error
        return self._server.port

    def close(self) -> None:
        """End the service."""
        if self._server is not None:
            self._server.close()
        self._server = None


def days_left(content: Callable[[], bytes]) -> float:
    """Days until the certificate ends that ``content`` gives (PEM); NaN where it cannot be read."""
    try:
        end = read_certificate(content()).not_valid_after_utc
    except (OSError, ConfigError):
        return float("nan")
    return (end - datetime.datetime.now(tz=datetime.UTC)).total_seconds() / 86400
