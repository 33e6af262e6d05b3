"""What was decided on site about patients' consents, which goes before whatever a later import says.

    consents = SiteConsents(workspace.folder)
    consents.withdraw("P-17", Purpose.MATCH)
    consents.limit("P-17", consent_of_the_source)     without match, until ``silo consent set`` gives it back

consents.json holds keyed hashes in place of ids, so that it can stay when the patient's data have gone.
"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Literal

from pydantic import Field

from client.discovery.private_file import read_private, write_private
from client.patients.patient_key import PatientKey
from common.cohort.schema import Consent, Purpose, Record

FILE = "consents.json"
_ALL = Consent(purposes=frozenset(Purpose), alone=True)


class _Content(Record):
    version: Literal[1] = 1
    key: str | None = None
    decided: dict[str, Consent] = Field(default_factory=dict)
    since: dict[str, datetime.date] = Field(default_factory=dict)


class SiteConsents:
    """The decisions of one workspace, changed by one process at a time (client.patients.stored_patients.changing).

    Raises:
        AgentError: a file is damaged, or the key is another one.
    """

    def __init__(self, folder: Path) -> None:
        self._path, self._key = folder / FILE, PatientKey(folder)
        self._content = read_private(self._path, _Content)
        self._key.check(self._content.key, self._path)

    def decided(self, patient: str) -> Consent | None:
        """The most that may be used of this patient; None where nothing was decided here."""
        return self._content.decided.get(self._key.token(patient))

    def limit(self, patient: str, stated: Consent) -> Consent:
        """What a source says, cut down to what was decided here."""
        most = self.decided(patient)
        if most is None:
            return stated
        ends = [day for day in (stated.expires, most.expires) if day is not None]
        return Consent(
            purposes=stated.purposes & most.purposes,
            expires=min(ends, default=None),
            alone=stated.alone and most.alone,
        )

    def withdraw(self, patient: str, purpose: Purpose | None, on: datetime.date) -> None:
        """Write down that a patient withdrew from ``purpose``, or from everything."""
        most = self.decided(patient) or _ALL
        if purpose is None:
            self.decide(patient, Consent(), on)
        else:
            self.decide(patient, most.model_copy(update={"purposes": most.purposes - {purpose}}), on)

    def decide(self, patient: str, most: Consent, on: datetime.date) -> None:
        """Write down what may be used at most from now on, in place of earlier decisions."""
        token = self._key.token(patient)
        content = _Content(
            key=self._key.name,
            decided={**self._content.decided, token: most},
            since={**self._content.since, token: on},
        )
        write_private(self._path, content)
        self._content = content

    def withdrawn(self) -> dict[Purpose | None, int]:
        """How many patients withdrew from a purpose here; None: from everything."""
        found: dict[Purpose | None, int] = dict.fromkeys((None, *Purpose), 0)
        for most in self._content.decided.values():
            if not most.purposes:
                found[None] += 1
            else:
                for purpose in set(Purpose) - most.purposes:
                    found[purpose] += 1
        return found
