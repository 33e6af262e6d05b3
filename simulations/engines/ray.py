"""Flower's simulation engine on Ray: many cores, GPUs or machines, by a setting.

The silos are opened in Ray's worker processes, which import this package; each worker keeps its silos and one
resident model between rounds. With the same number of threads the model is the inline engine's, bit for bit.
"""

from __future__ import annotations

import functools
import logging
import os
import warnings
from dataclasses import dataclass
from typing import Any

from flwr.app import Context
from flwr.simulation import run_simulation

import client.app
import server.app
from common.errors import PhenofedError, TrainingError
from common.federation import Coordination, SiloOperations
from common.models.device import find_device
from common.quiet import be_quiet
from server import checkpoints
from server.checkpoints import Checkpoint
from server.rounds import OnRound
from simulations.engines import OpenSilo
from simulations.engines.cluster import look


@dataclass(frozen=True)
class RayEngine:
    """Runs ``clients_at_once`` silos in parallel, each on an equal share of the cores and ``gpus_per_client``.

    ``address``: host:port of a Ray cluster that runs already, for several machines. They must all have this
    package, and the run's folder under the same path; None stays on this machine.
    """

    clients_at_once: int = 2
    gpus_per_client: float = 0.0
    address: str | None = None

    def __call__(self, run: Coordination, open_silo: OpenSilo, *, on_round: OnRound) -> Checkpoint:
        """Lead ``run``; ``open_silo`` must be picklable and hashable.

        Raises:
            ConfigError: GPUs are asked for that no machine has, or no cluster answers.
            TrainingError: Ray or a round ended the run early.
        """
        be_quiet()
        started, cores = self._resources()
        failures: list[PhenofedError] = []
        # Flower announces that a future version replaces this entry point; 1.41 is pinned.
        logging.getLogger("flwr").setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run_simulation(
                server.app.build(lambda context: run, on_round=on_round, on_failure=failures.append),
                client.app.build(functools.partial(_silo, open_silo, run.silos)),
                num_supernodes=len(run.silos),
                backend_config={
                    "init_args": {**started, "log_to_driver": False},
                    "client_resources": {"num_cpus": cores, "num_gpus": self.gpus_per_client},
                },
            )
        if failures:
            raise failures[0]
        checkpoint = checkpoints.read(run.folder)
        if checkpoint is None or checkpoint.round < run.rounds:
            done = checkpoint.round if checkpoint else 0
            raise TrainingError(
                f"the simulation engine stopped after {done} of {run.rounds} rounds",
                remedy="continue with --resume, or use federation.engine=inline",
            )
        return checkpoint

    def _resources(self) -> tuple[dict[str, Any], int]:
        """How Ray is started or found, and the cores of each client.

        Looked at before Ray is, which would wait for a GPU or a cluster that never comes.
        """
        if self.address is not None:
            found = look(self.address)
            return {"address": self.address}, found.share(self.clients_at_once, self.gpus_per_client)
        if self.gpus_per_client > 0:
            find_device("cuda")
        cores = os.cpu_count() or 1
        return {"num_cpus": cores, "include_dashboard": False}, max(1, cores // self.clients_at_once)


def _silo(open_silo: OpenSilo, names: tuple[str, ...], context: Context) -> SiloOperations:
    """The silo that a virtual node plays; which node plays which is no identity, only an arrangement."""
    return _opened(open_silo, names[int(context.node_config["partition-id"])])


@functools.cache
def _opened(open_silo: OpenSilo, name: str) -> SiloOperations:
    """Each worker opens a silo once: equal openers come out of every message anew."""
    return _first(open_silo)(name)


@functools.cache
def _first(open_silo: OpenSilo) -> OpenSilo:
    return open_silo
