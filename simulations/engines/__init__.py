"""Where a simulated federation runs: ``inline`` in this process, ``ray`` over Flower's simulation engine.

Both drive the same ServerApp and ClientApp, and give the same model to the bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from common.federation import Coordination, SiloOperations
from server.checkpoints import Checkpoint
from server.rounds import OnRound

OpenSilo = Callable[[str], SiloOperations]
"""From a silo's name to the silo."""


class Engine(Protocol):
    """Runs a federation to its end and gives the last checkpoint."""

    def __call__(self, run: Coordination, open_silo: OpenSilo, *, on_round: OnRound) -> Checkpoint: ...
