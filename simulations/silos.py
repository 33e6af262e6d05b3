"""Simulated hospitals: workspaces in a run's folder, opened in this process or in a worker of the engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch

from client.silo import Silo
from common.learning.assembly import ModelPool
from simulations.folder import RunFolder


@dataclass(frozen=True)
class RunSilos:
    """Opens the silos of the run in ``folder``; they share one resident model.

    Equal where folder and threads are. Between processes only those two travel: the models stay at home.
    """

    folder: Path
    threads: int | None = None
    pool: ModelPool = field(default_factory=ModelPool, compare=False, repr=False)

    def __call__(self, name: str) -> Silo:
        """The silo of that name."""
        if self.threads is not None and torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)
        return Silo(name, RunFolder(self.folder).silo(name), pool=self.pool)

    def __reduce__(self) -> tuple[type[RunSilos], tuple[Path, int | None]]:
        return RunSilos, (self.folder.resolve(), self.threads)
