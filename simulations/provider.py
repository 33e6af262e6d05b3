"""A scenario as a provider, so that `flwr run .` trains simulated hospitals without any of our own commands.

The run's settings name the scenario, the number of its silos, and a folder; an empty folder name means one in the
user's state directory. There must be as many simulated SuperNodes as silos.
The ServerApp prepares the workspaces before it sends the first message, and every node opens its own.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.federation import Coordination, Provider, SiloOperations
from common.learning.assembly import ModelPool
from simulations.folder import RunFolder
from simulations.modes import Training
from simulations.prepare import prepare, silo_names
from simulations.progress import Silent
from simulations.scenario import load_scenario
from simulations.silos import RunSilos

DEADLINE_S = 300


@dataclass(frozen=True)
class ScenarioProvider:
    """Silos and coordination of the scenario that the run's settings name."""

    def silo(self, run_config: Mapping[str, Any], node_config: Mapping[str, Any]) -> SiloOperations:
        """The silo of a virtual node: by name, or by its place among the sorted names."""
        folder = _folder(run_config)
        name = node_config.get("silo")
        if name is None:
            names = sorted((path.name for path in (folder / "silos").iterdir()), key=str.encode)
            name = names[int(node_config["partition-id"]) % len(names)]
        return _opened(folder, str(name))

    def coordination(self, run_config: Mapping[str, Any]) -> Coordination:
        """Prepare the workspaces, afresh for each run, and describe the federated training over them."""
        overrides = [f"cohort.spec.silos={run_config['silos']}", f"federation.deadline_s={DEADLINE_S}"]
        scenario = load_scenario(str(run_config["scenario"]), overrides=overrides)
        folder = RunFolder(_folder(run_config))
        folder.start(scenario, replace=True)
        cohort = prepare(scenario, folder, Silent())
        assert cohort.protocol is not None
        training = Training(scenario, folder, silo_names(cohort.protocol), ModelPool())
        return training.coordination()


@functools.cache
def _opened(folder: Path, name: str) -> SiloOperations:
    """A worker opens each silo once, and all share one resident model."""
    return _silos(folder)(name)


@functools.cache
def _silos(folder: Path) -> RunSilos:
    # A worker sees the GPUs that the engine set aside for it, so that 'auto' takes none that belongs to another.
    return RunSilos(folder, threads=1, pool=ModelPool(RunFolder(folder).read_scenario().device))


def _folder(run_config: Mapping[str, Any]) -> Path:
    named = str(run_config.get("folder", ""))
    if named:
        return Path(named)
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "phenofed" / "flwr-run"


provider: Provider = ScenarioProvider()
