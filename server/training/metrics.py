"""A run's figures for Prometheus, while a process leads it; docs/deployment.md lists them.

They are read from the run's folder at each scrape, so that they outlive a process that crashed as soon as the next
one leads. Labels are the run's name, silos of its plan, and words of fixed sets.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from common.errors import PhenofedError, RunError
from common.metrics_server import MetricsServer
from server.aggregation.reasons import reason_of
from server.relay.metrics import days_left
from server.training.run_state import RunState
from server.training.standing import WORKING, RunStanding, Standing, standing_of

PREFIX = "phenofed_training"


class RunMetrics(Collector):
    """The figures of the run in a folder.

    Args:
        certificate: PEM of what the SuperLink shows to nodes; read at each scrape.
    """

    def __init__(self, run: Path, certificate: Callable[[], bytes]) -> None:
        self._run, self._certificate = run, certificate
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def serve(self, port: int) -> MetricsServer:
        """Serve them and ``/healthz`` on loopback.

        Raises:
            RunError: the port is taken.
        """
        try:
            return MetricsServer(self.registry, port, ailing=self.ailing)
        except OSError as error:
            raise RunError(
                f"cannot serve metrics on port {port} ({error.strerror})",
                remedy="give another --metrics-port, or set another training_metrics_port in relay.yaml",
            ) from error

    def ailing(self) -> str | None:
        """Why the run does not go on as it should, in a line; None if it does."""
        try:
            now = standing_of(self._run)
        except PhenofedError as error:
            return str(error)
        if now.standing not in WORKING or now.standing is Standing.STALLED:
            return now.what
        if not days_left(self._certificate) > 0:
            return "the certificate has ended or cannot be read"
        return None

    def describe(self) -> list[Metric]:
        """Nothing: the folder is read when somebody asks."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The figures of this moment; the certificate's alone while the folder cannot be read."""
        name = self._run.resolve().name
        yield certificate_figure(name, days_left(self._certificate))
        try:
            now = standing_of(self._run)
        except PhenofedError:
            return
        yield from figures_of(now)


def certificate_figure(run: str, days: float) -> Metric:
    """Until the certificate ends that nodes are shown."""
    return _gauge(
        "certificate_expires_days", "Until the TLS certificate ends; NaN where it is unreadable", run, days
    )


def figures_of(now: RunStanding) -> Iterator[Metric]:
    """Everything that is told of a run that stands so."""
    info = GaugeMetricFamily(f"{PREFIX}_info", "The run's signed plan", labels=["run", "plan"])
    info.add_metric([now.run, now.plan[:12]], 1)
    yield info
    yield _by("standing", "1 for how the run stands", "standing", now, _flags(now))
    yield from _rounds(now)
    yield from _silos(now)
    if now.state is not None:
        yield from _process(now, now.state)


def _rounds(now: RunStanding) -> Iterator[Metric]:
    yield _gauge("rounds", "Rounds that the plan asks for", now.run, now.rounds)
    yield _gauge("rounds_done", "Rounds done, discarded ones among them", now.run, now.done)
    yield _counter("rounds_discarded", "Rounds that lacked a quorum", now.run, now.discarded)
    yield _gauge("discarded_in_a_row", "Since the last round that counted", now.run, now.row)
    yield _gauge("deadline_seconds", "For how long a round waits for updates", now.run, now.deadline_s)
    if now.last is not None:
        yield _gauge("last_round_seconds", "That the last round took", now.run, now.last.seconds)
        yield _gauge("update_norm", "Of the last round's mean update", now.run, now.last.update_norm)
    if now.checkpoint_seconds is not None:
        yield _gauge("checkpoint_age_seconds", "Since the checkpoint was written", now.run, now.checkpoint_seconds)


def _silos(now: RunStanding) -> Iterator[Metric]:
    yield _gauge("silos", "That the plan names", now.run, len(now.silos))
    yield _gauge("silos_counted", "In the last round", now.run, len(now.last.losses) if now.last else 0)
    counted = now.last.losses if now.last else {}
    yield _by("silo_counted", "1 if it counted last", "silo", now, {s: s in counted for s in now.silos})
    missed = Counter((silo, reason_of(why)) for each in now.history for silo, why in each.excluded.items())
    excluded = CounterMetricFamily(
        f"{PREFIX}_exclusions", "Rounds in which a silo did not count", labels=["run", "silo", "reason"]
    )
    for (silo, reason), rounds in sorted(missed.items()):
        excluded.add_metric([now.run, silo, reason.value], rounds)
    yield excluded


def _process(now: RunStanding, state: RunState) -> Iterator[Metric]:
    yield _gauge("silos_approved", "That approved the plan and are admitted", now.run, state.approved)
    yield _gauge("silos_connected", "That this round was sent to", now.run, len(state.connected))
    yield _counter("resumes", "Times that the run was resumed", now.run, state.leads - 1)
    age = max(0.0, time.time() - state.since)
    yield _gauge("round_age_seconds", "Since this round, or the waiting for silos, began", now.run, age)


def _flags(now: RunStanding) -> dict[str, bool]:
    return {each.value: each is now.standing for each in Standing}


def _by(name: str, about: str, label: str, now: RunStanding, values: dict[str, bool]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"{PREFIX}_{name}", about, labels=["run", label])
    for key, value in values.items():
        family.add_metric([now.run, key], float(value))
    return family


def _gauge(name: str, about: str, run: str, value: float) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"{PREFIX}_{name}", about, labels=["run"])
    family.add_metric([run], float(value))
    return family


def _counter(name: str, about: str, run: str, value: float) -> CounterMetricFamily:
    family = CounterMetricFamily(f"{PREFIX}_{name}", about, labels=["run"])
    family.add_metric([run], float(value))
    return family
