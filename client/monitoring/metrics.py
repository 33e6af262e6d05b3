"""The agent's figures for Prometheus; docs/deployment.md lists them.

    metrics = AgentMetrics(lambda: snapshot(agent))
    metrics.answered("peer", "query", "ok", 0.2)
    with metrics.serve(9465):
        ...

Labels are names of the roster, of topics and of outcomes; none tells a patient or a syndrome.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from client.monitoring.health import ailing
from client.monitoring.snapshot import Snapshot
from common.errors import AgentError, PhenofedError
from common.metrics_server import MetricsServer, show_build

Side = Literal["peer", "local"]
Outcome = Literal["ok", "refused", "failed"]
OTHER = "other"

_SECONDS = (0.005, 0.02, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 900)


class AgentMetrics:
    """One agent's figures, in a registry of their own.

    Args:
        look: how the agent stands, asked at each scrape.
        policy_valid: whether a policy is in force.
    """

    def __init__(self, look: Callable[[], Snapshot], policy_valid: Callable[[], bool] = lambda: True) -> None:
        self.registry = CollectorRegistry()
        self._look = look
        self._topics: set[str] = set()
        self._requests = Counter(
            "phenofed_agent_requests",
            "Requests of other hospitals (peer) and of this one's people (local)",
            ["side", "topic", "outcome"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "phenofed_agent_request_seconds",
            "From a request to its answer or refusal",
            ["side", "topic"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.registry.register(_Gauges(look, policy_valid))
        show_build(self.registry)

    def answered(self, side: Side, topic: str, outcome: Outcome, seconds: float) -> None:
        """A request ended. A topic stands under its name once one was answered: others' words make no label."""
        if outcome == "ok":
            self._topics.add(topic)
        known = topic if topic in self._topics else OTHER
        self._requests.labels(side, known, outcome).inc()
        self._seconds.labels(side, known).observe(seconds)

    def value(self, name: str, **labels: str) -> float | None:
        """One figure as a scrape would show it."""
        return self.registry.get_sample_value(f"phenofed_agent_{name}", labels)

    def serve(self, port: int) -> MetricsServer:
        """Serve ``/metrics`` and ``/healthz`` on loopback.

        Raises:
            AgentError: the port is taken.
        """
        try:
            return MetricsServer(self.registry, port, ailing=lambda: ailing(self._look))
        except OSError as error:
            raise AgentError(
                f"cannot serve metrics on port {port} ({error.strerror})", remedy="set another metrics_port"
            ) from error


class _Gauges(Collector):
    def __init__(self, look: Callable[[], Snapshot], policy_valid: Callable[[], bool]) -> None:
        self._look, self._policy_valid = look, policy_valid

    def describe(self) -> list[Metric]:
        """Nothing: asking the agent for it now would be too early."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The figures of this moment; but for requests and policy none while the workspace cannot be read."""
        yield _gauge(
            "policy_valid", "1 while policy.yaml is in force, 0 while nothing is allowed", self._policy_valid()
        )
        try:
            now = self._look()
        except PhenofedError:
            return
        yield _gauge("link_connected", "1 while the relay holds this silo's stream", now.connected)
        yield _gauge("silos_present", "Other silos that are connected", now.present)
        yield _gauge("members_waiting", "Members that were not accepted here", now.waiting)
        yield _gauge("worker_restarts", "Encryption workers that were started anew", now.restarts)
        yield _gauge("certificate_expires_days", "Until the TLS certificate ends", now.certificate_days)
        yield _gauge("epoch_number", "Newest gallery epoch, 0 for none", now.epoch or 0)
        if now.epoch_seconds is not None:
            yield _gauge("epoch_age_seconds", "Since that epoch was opened", now.epoch_seconds)
        if now.left_to_ask is not None:
            yield _gauge("questions_left", "That this silo may still ask within a rolling year", now.left_to_ask)
        budgets = GaugeMetricFamily(
            "phenofed_agent_budget_left",
            "Questions that a hospital may still ask here, for the syndrome that ends first",
            labels=["querier"],
        )
        for querier, remaining in sorted(now.remaining.items()):
            budgets.add_metric([querier], remaining)
        yield budgets


def _gauge(name: str, about: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"phenofed_agent_{name}", about, value=float(value))
