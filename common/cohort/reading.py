"""What every reader returns, and the refusals that it must account for."""

from __future__ import annotations

from dataclasses import dataclass, field

from common.cohort.schema import Cohort
from common.cohort.splits import Protocol
from common.errors import CohortError


@dataclass(frozen=True)
class Refused:
    """One row that did not come in. ``line`` counts from 1 with the header; 0 stands for the whole file.

    ``reason`` never repeats free text of the row, which may name a person.
    """

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}" if self.line else f"{self.file}: {self.reason}"


@dataclass(frozen=True)
class ReadResult:
    """A cohort, its protocol where the source has one, every refused row, and remarks on the whole."""

    cohort: Cohort
    protocol: Protocol | None
    refused: list[Refused] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def require_usable(cohort: Cohort) -> None:
    """Check that a cohort can be ranked at all.

    Raises:
        CohortError: no patient, or solved patients of fewer than two syndromes.
    """
    if not cohort.patients:
        raise CohortError(
            f"cohort '{cohort.name}' has no usable patient", remedy="see the refused rows for what to mend"
        )
    labels = {patient.syndrome for patient in cohort.patients if patient.syndrome is not None}
    if len(labels) < 2:
        raise CohortError(
            f"cohort '{cohort.name}' has patients of {len(labels)} syndrome{'s' * (len(labels) != 1)}",
            remedy="ranking needs at least two; add patients of others",
        )
