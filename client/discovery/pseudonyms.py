"""What other hospitals call this hospital's patients: a random name a partner and patient, kept privately.

Within a partner the name stays, so that the same link is known again; between partners nothing relates the names,
so that two of them cannot find out that they talk of one patient.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from client.discovery.private_file import read_private, write_private
from common.cohort.schema import Record
from common.encryption.gram_terms import PSEUDONYM_BYTES


class _Names(Record):
    version: Literal[1] = 1
    partners: Annotated[dict[str, dict[str, str]], Field(default_factory=dict)]


class Pseudonyms:
    """The file of them.

    Raises:
        AgentError: the file is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partners = read_private(path, _Names).partners
        self._lock = threading.Lock()

    @property
    def patients(self) -> frozenset[str]:
        """Everybody who has a name for anybody."""
        return frozenset(patient for names in self._partners.values() for patient in names)

    def of(self, partner: str, patients: Sequence[str]) -> list[str]:
        """For each patient the name that the partner knows, 32 hexadecimal digits; stored before it is used."""
        with self._lock:
            names = dict(self._partners.get(partner, {}))
            names |= {patient: secrets.token_hex(PSEUDONYM_BYTES) for patient in patients if patient not in names}
            if names != self._partners.get(partner, {}):
                self._keep({**self._partners, partner: names})
            return [names[patient] for patient in patients]

    def patient(self, partner: str, pseudonym: str) -> str | None:
        """Who the partner means, or None for a name that it was never given."""
        names = self._partners.get(partner, {})
        return next((patient for patient, name in names.items() if name == pseudonym), None)

    def forget(self, patient: str) -> None:
        """Drop every name of a patient, whose consent ended for instance."""
        with self._lock:
            self._keep(
                {
                    partner: {known: name for known, name in names.items() if known != patient}
                    for partner, names in self._partners.items()
                }
            )

    def _keep(self, partners: dict[str, dict[str, str]]) -> None:
        write_private(self._path, _Names(partners=partners))
        self._partners = partners
