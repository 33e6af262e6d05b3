"""Whose data took part in which training run, and which releases came of it, by keyed hash.

It stays when a patient has left: what was learnt from them stays in the weights, and can be named.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from client.discovery.private_file import read_private, write_private
from client.gallery.alone import alone
from client.patients.patient_key import PatientKey
from common.cohort.schema import Record

FILE = "participation.json"


@dataclass(frozen=True)
class Part:
    """A run that a patient's data took part in; ``releases`` made of it, as far as they are known here."""

    run: str
    releases: tuple[str, ...] = ()


class _Run(Record):
    patients: frozenset[str] = frozenset()
    releases: tuple[str, ...] = ()


class _Content(Record):
    version: Literal[1] = 1
    key: str | None = None
    runs: dict[str, _Run] = Field(default_factory=dict)


class Participation:
    """One workspace's record, for all threads and processes of its owner.

    Raises:
        AgentError: a file is damaged, or the key is another one.
    """

    def __init__(self, folder: Path) -> None:
        self._path, self._lock = folder / FILE, folder / "participation.lock"
        self._key: PatientKey | None = None
        self._known: dict[str, frozenset[str]] = {}
        self._thread = threading.Lock()

    def took_part(self, run: str, patients: Iterable[str]) -> None:
        """Write down that these patients were trained on in ``run``; cheap where that is known."""
        key = self._patient_key()
        with self._thread:
            tokens = frozenset(map(key.token, patients))
            if tokens <= self._known.get(run, frozenset()):
                return
            with alone(self._lock):
                content = self._read()
                before = content.runs.get(run, _Run())
                after = before.model_copy(update={"patients": before.patients | tokens})
                if after != before:
                    self._write(content, run, after)
                self._known[run] = after.patients

    def released(self, release: str, *, run: str | None = None, parent: str | None = None) -> None:
        """Write down that ``release`` was made of ``run``, or goes on from the release ``parent``.

        A run that nobody here took part in is passed over.
        """
        with self._thread, alone(self._lock):
            content = self._read()
            for name, entry in content.runs.items():
                if (name == run or parent in entry.releases) and release not in entry.releases:
                    content = self._write(
                        content, name, entry.model_copy(update={"releases": (*entry.releases, release)})
                    )

    def of(self, patient: str) -> tuple[Part, ...]:
        """The runs that a patient's data took part in, by name."""
        token = self._patient_key().token(patient)
        found = self._read().runs.items()
        return tuple(Part(run, entry.releases) for run, entry in sorted(found) if token in entry.patients)

    def _patient_key(self) -> PatientKey:
        if self._key is None:
            self._key = PatientKey(self._path.parent)
        return self._key

    def _read(self) -> _Content:
        content = read_private(self._path, _Content)
        self._patient_key().check(content.key, self._path)
        return content

    def _write(self, content: _Content, run: str, entry: _Run) -> _Content:
        update = {"key": self._patient_key().name, "runs": {**content.runs, run: entry}}
        changed = content.model_copy(update=update)
        write_private(self._path, changed)
        return changed
