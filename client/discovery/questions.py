"""Questions without an answer yet, one a partner: to ask such a one again costs no row.

The secret key of a question is in its file only as its worker sealed it (common.encryption.sealed_keys).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from client.discovery.asker import PatientQuestion
from client.discovery.private_file import read_private, write_private
from common.cohort.schema import Record
from common.consortium.identity import Card
from common.errors import AgentError


@dataclass(frozen=True)
class OpenQuestion:
    """A question and the release (32 bytes, its digest) that it was asked with."""

    asked: PatientQuestion
    release: bytes


class Questions:
    """The folder of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def patients(self) -> frozenset[str]:
        """Everybody who is in one."""
        files = [self._read(path) for path in self._folder.glob("*.json")]
        return frozenset(patient for file in files for patient in file.patients)

    def find(self, partner: Card, patients: Sequence[str], threshold: float) -> OpenQuestion | None:
        """The open question to a partner, if it is about these patients at this threshold.

        Raises:
            AgentError: its file is damaged.
        """
        path = self._path(partner)
        file = self._read(path)
        if file.question is None or file.partner != partner.fingerprint.hex():
            return None
        try:
            asked = PatientQuestion.from_json(file.question)
            found = OpenQuestion(asked, bytes.fromhex(file.release))
        except (KeyError, TypeError, ValueError) as error:
            raise AgentError(f"{path} is damaged", remedy="remove it, and ask anew") from error
        same = asked.question.threshold == threshold and sorted(patients) == sorted(asked.patients)
        return found if same else None

    def keep(self, partner: Card, asked: PatientQuestion, release: bytes) -> OpenQuestion:
        """Write down a question before it is sent, in place of an older one."""
        content = _File(partner=partner.fingerprint.hex(), release=release.hex(), question=asked.to_json())
        write_private(self._path(partner), content)
        return OpenQuestion(asked, release)

    def is_open(self, partner: Card) -> bool:
        """Whether one is kept."""
        return self._path(partner).exists()

    def drop(self, partner: Card) -> None:
        """It was answered."""
        self._path(partner).unlink(missing_ok=True)

    def forget(self, patients: Collection[str]) -> None:
        """Drop the questions that one of these patients is in."""
        for path in self._folder.glob("*.json"):
            if not self._read(path).patients.isdisjoint(patients):
                path.unlink(missing_ok=True)

    def _path(self, partner: Card) -> Path:
        return self._folder / f"{partner.name}.json"

    def _read(self, path: Path) -> _File:
        return read_private(path, _File)


class _File(Record):
    version: Literal[1] = 1
    partner: str = ""
    release: str = ""
    question: dict[str, Any] | None = None

    @property
    def patients(self) -> frozenset[str]:
        return frozenset((self.question or {}).get("patients", ()))
