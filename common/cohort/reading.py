"""What every reader returns, and the refusals that it must account for."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field, replace

from common.cohort.schema import Cohort, Patient, Photo, Purpose
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
    """A cohort, its protocol where the source has one, every refused row, and remarks on the whole.

    ``silent``: patients of whose consent the source says nothing.
    """

    cohort: Cohort
    protocol: Protocol | None
    refused: list[Refused] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    silent: frozenset[str] = frozenset()

    def permitted(self, on: datetime.date, purpose: Purpose | None = None) -> ReadResult:
        """The patients who allow ``purpose`` on the day ``on``, or any purpose at all where it is None.

        The rows of the others are refused, and the protocol is cut down with them.
        """
        wanted = tuple(Purpose) if purpose is None else (purpose,)

        def allows(patient: Patient) -> bool:
            return any(patient.consent.allows(p, on) for p in wanted)

        kept = [patient for patient in self.cohort.patients if allows(patient)]
        if len(kept) == len(self.cohort.patients):
            return self
        reason = f"consent does not cover {purpose or 'any purpose'} on {on}"
        refused = [
            refusal(photo, f"photo {photo.id}: {reason}")
            for patient, photo in self.cohort.photos()
            if not allows(patient)
        ]
        cohort = self.cohort.model_copy(update={"patients": tuple(kept)})
        protocol = self.protocol and self.protocol.restricted_to(photo.id for _, photo in cohort.photos())
        return replace(self, cohort=cohort, protocol=protocol, refused=[*self.refused, *refused])


def refusal(photo: Photo, reason: str) -> Refused:
    """A photo refused after reading: points at the row that listed it, where its reader recorded one."""
    file, colon, line = photo.source.rpartition(":")
    if colon and line.isdigit():
        return Refused(file, int(line), reason)
    return Refused(photo.source or photo.path.name, 0, reason)


def printable(text: str) -> str:
    """``text`` with every character that could steer a terminal or break a line replaced by U+FFFD."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def require_patients(cohort: Cohort) -> None:
    """Check that anybody is left. One syndrome is enough for a hospital: others hold the rest.

    Raises:
        CohortError: there is no patient.
    """
    if not cohort.patients:
        raise CohortError(
            f"cohort '{cohort.name}' has no usable patient", remedy="see the refused rows for what to mend"
        )
