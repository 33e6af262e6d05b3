"""What a step is: it takes an update and gives the one that goes on, with what may be told of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from common.records import Update

Fact = str | int


@dataclass(frozen=True)
class Treated:
    """``update``: what goes on; ``facts``: for the audit log, about numbers and never about a patient."""

    update: Update
    facts: Mapping[str, Fact] = field(default_factory=dict)


class Postprocessor(Protocol):
    """One step. The same update gives the same bits, unless the step is there to draw at random."""

    def __call__(self, update: Update) -> Treated:
        """The update after this step.

        Raises:
            TrainingError: nothing may be sent.
        """
