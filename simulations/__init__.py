"""Researchers: scenarios, engines, synthetic faces, baselines, benchmarks and the report.

    import simulations

    finished = simulations.run(simulations.load_scenario("demo"))
    finished.results["metrics"]["federated"]["F/F"]["top10"]

May import every other folder; nothing imports it.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Run", "Scenario", "load_scenario", "resume", "run"]


def __getattr__(name: str) -> Any:
    """Load on first use: a command line that only shows its help stays quick."""
    if name in ("Run", "resume", "run"):
        from simulations import running

        return getattr(running, name)
    if name in ("Scenario", "load_scenario"):
        from simulations import scenario

        return getattr(scenario, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
