"""A cap on the patients that an update states, which is its weight in the mean."""

from __future__ import annotations

from dataclasses import dataclass, replace

from client.training.postprocessors.step import Treated
from common.records import Update


@dataclass(frozen=True)
class PatientCap:
    """States at most ``most`` patients. Photos weigh nothing, so that their number stays as counted."""

    most: int | None

    def stated(self, patients: int) -> int:
        """The number that is told for so many patients."""
        return patients if self.most is None else min(patients, self.most)

    def __call__(self, update: Update) -> Treated:
        """The update with its patients capped."""
        stated = self.stated(update.patients)
        return Treated(replace(update, patients=stated), {"patients": update.patients, "stated": stated})
