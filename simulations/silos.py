"""Simulated hospitals: workspaces in a run's folder, opened in this process or in a worker of the engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from client.silo import Silo
from common.learning.assembly import ModelPool
from simulations.folder import RunFolder


@dataclass(frozen=True)
class RunSilos:
    """Opens the silos of the run in ``folder``; they share one resident model.

    ``worker_device``: where networks run once this has travelled to a worker of the engine; here the pool knows.
    Equal where folder, threads and that device are. Only those three travel: the models stay at home.
    """

    folder: Path
    threads: int | None = None
    worker_device: str = "cpu"
    pool: ModelPool = field(default_factory=ModelPool, compare=False, repr=False)

    def __call__(self, name: str) -> Silo:
        """The silo of that name."""
        if self.threads is not None and torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)
        return Silo(name, RunFolder(self.folder).silo(name), pool=self.pool)

    def __reduce__(self) -> tuple[Callable[..., RunSilos], tuple[Path, int | None, str]]:
        return _arrived, (self.folder.resolve(), self.threads, self.worker_device)


def _arrived(folder: Path, threads: int | None, device: str) -> RunSilos:
    return RunSilos(folder, threads, device, ModelPool(device))
