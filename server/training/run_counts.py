"""How many runs stand how, for the relay's metrics: the relay goes on where whoever led a run has ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from server.training.standing import Standing, run_folders, standing_of


class RunCounts(Collector):
    """Counts the runs of the relay's ``folder`` at each scrape."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def describe(self) -> list[Metric]:
        """Nothing: the folder is read when somebody asks."""
        return []

    def collect(self) -> Iterator[Metric]:
        """One figure a standing, 0 among them."""
        counted = Counter(standing_of(path).standing for path in run_folders(self._folder))
        family = GaugeMetricFamily("phenofed_coordinator_runs", "Runs that stand so", labels=["standing"])
        for standing in Standing:
            family.add_metric([standing.value], counted[standing])
        yield family
