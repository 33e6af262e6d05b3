"""Clipping: no update leaves the hospital that is longer than its policy, or the plan, allows."""

from __future__ import annotations

from dataclasses import dataclass, replace

from client.training.postprocessors.step import Treated
from common.errors import TrainingError
from common.privacy.clipping import clipped
from common.records import Update, norm


@dataclass(frozen=True)
class Clip:
    """Clips to the Euclidean norm ``bound``; without one an update stays as it is, and its norm is told."""

    bound: float | None

    def __call__(self, update: Update) -> Treated:
        """The update, clipped where it is longer.

        Raises:
            TrainingError: a parameter is not finite.
        """
        try:
            delta = clipped(update.delta, float("inf") if self.bound is None else self.bound)
        except ValueError as error:
            raise TrainingError("the update is not finite", remedy="lower the learning rates") from error
        shortened = delta is not update.delta
        facts = {"norm": f"{norm(delta):.4g}", "clipped": "yes" if shortened else "no"}
        return Treated(replace(update, delta=delta) if shortened else update, facts)
