"""The record of a patient, from the first day on: pseudonym, photos, syndrome, phenotype, purposes.

Nothing here can hold a direct identifier: readers drop names, addresses and e-mail before a record exists.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

CURIE = re.compile(r"^(OMIM|ORPHA|MONDO|HGNC|GENE):[A-Za-z0-9_.-]{1,32}$")
HPO_ID = re.compile(r"^HP:\d{7}$")


class Purpose(StrEnum):
    """What a patient's data may be used for."""

    TRAIN = "train"  # fine-tuning on the photos
    MATCH = "match"  # a place in the gallery that new patients are ranked against
    DISCOVER = "discover"  # comparison of unsolved patients between hospitals
    DISPLAY = "display"  # the photo shown to people, in reports or consoles


class Record(BaseModel):
    """Base of the cohort records: immutable, and without unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Consent(Record):
    """The purposes a patient agreed to, until ``expires`` (inclusive; None: no expiry recorded).

    ``alone``: a recorded agreement that the patient may be a gallery row of its own, which is as good as the
    patient's embedding to whoever may ask. Sources that do not record it leave it False.
    """

    purposes: frozenset[Purpose] = frozenset()
    expires: datetime.date | None = None
    alone: bool = False

    def allows(self, purpose: Purpose, on: datetime.date) -> bool:
        """Whether ``purpose`` is agreed to on the day ``on``."""
        return purpose in self.purposes and (self.expires is None or on <= self.expires)


def _hpo(terms: tuple[str, ...]) -> tuple[str, ...]:
    for term in terms:
        if not HPO_ID.match(term):
            raise ValueError(f"'{term}' is not an HPO identifier such as HP:0000316")
    return terms


def _curies(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if not CURIE.match(name):
            raise ValueError(f"'{name}' is not an identifier such as OMIM:122470")
    return names


HpoTerms = Annotated[tuple[str, ...], AfterValidator(_hpo)]
Point = tuple[float, float]


class Photo(Record):
    """One photograph: a reference, never pixels.

    ``landmarks``: eyes, nose, mouth corners in pixels of the file after its EXIF orientation, in the order
    of ``common.faces.align.TEMPLATE`` (image left to right), or None where a detector must find them.
    ``box``: x1, y1, x2, y2 of the face in the same pixels. ``source``: the row that listed it, ``file:line``.
    ``aligned``: the file is a crop on the template already.
    """

    id: Annotated[str, Field(min_length=1, max_length=128)]
    path: Path
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    source: str = ""
    landmarks: tuple[Point, Point, Point, Point, Point] | None = None
    box: tuple[float, float, float, float] | None = None
    aligned: bool = False


class Syndrome(Record):
    """One disorder: the key that labels rows, a name, and its identifiers (OMIM, ORPHA, MONDO or a gene)."""

    key: Annotated[str, Field(min_length=1, max_length=64)]
    name: str
    identifiers: Annotated[tuple[str, ...], AfterValidator(_curies)] = ()


class Patient(Record):
    """A pseudonymous patient. ``syndrome`` is a ``Syndrome.key``, or None while unsolved."""

    id: Annotated[str, Field(min_length=1, max_length=128)]
    photos: tuple[Photo, ...]
    syndrome: str | None = None
    hpo_present: HpoTerms = ()
    hpo_absent: HpoTerms = ()
    age_years: Annotated[float, Field(ge=0, le=120)] | None = None
    sex: Literal["female", "male"] | None = None
    ancestry: str | None = None
    pmid: str | None = None
    consent: Consent = Consent()


class Cohort(Record):
    """Patients and the syndromes that label them, in a fixed order."""

    name: str
    patients: tuple[Patient, ...]
    syndromes: tuple[Syndrome, ...]

    def for_purpose(self, purpose: Purpose, on: datetime.date) -> Cohort:
        """The patients whose consent covers ``purpose`` on the day ``on``."""
        kept = tuple(patient for patient in self.patients if patient.consent.allows(purpose, on))
        return self.model_copy(update={"patients": kept})

    def subset(self, patient_ids: Iterable[str]) -> Cohort:
        """The named patients, in this cohort's order."""
        wanted = set(patient_ids)
        return self.model_copy(update={"patients": tuple(p for p in self.patients if p.id in wanted)})

    def photos(self) -> Iterator[tuple[Patient, Photo]]:
        """Every photo with its patient."""
        for patient in self.patients:
            for photo in patient.photos:
                yield patient, photo

    def syndrome(self, key: str) -> Syndrome:
        """The syndrome of that key; KeyError where the cohort has none."""
        return next((s for s in self.syndromes if s.key == key), None) or _missing(key)


def _missing(key: str) -> Syndrome:
    raise KeyError(key)
