"""Cells of any table -> fields of a patient: age, sex, phenotype, publication, consent.

A cell that cannot be understood becomes "not recorded" and is counted in a note, save for consent: what cannot
be understood there permits nothing.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from common import ontology
from common.cohort.schema import Consent, Patient, Photo, Purpose

Sex = Literal["female", "male"]

_AGREED = {"yes", "y", "true", "1", "1.0", "given", "consented", "agreed", "signed"}
_DECLINED = {"no", "n", "false", "0", "0.0", "none", "declined", "refused", "withdrawn", "revoked", "expired"}
_PMID = re.compile(r"^(?:PMID:?\s*)?(\d{1,9})(?:\.0)?$", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True)
class Attributes:
    """What one row says of a patient beyond photo and syndrome."""

    hpo_present: tuple[str, ...] = ()
    hpo_absent: tuple[str, ...] = ()
    age_years: float | None = None
    sex: Sex | None = None
    ancestry: str | None = None
    pmid: str | None = None
    consent: Consent = field(default_factory=Consent)
    unknown_terms: int = 0
    unread_consents: int = 0
    says_consent: bool = False


def parse_age(years: str, months: str = "") -> float | None:
    """Age in years from two cells, or None where neither holds a number within 0..120 years."""
    year, month = _number(years), _number(months)
    if year is None and month is None:
        return None
    age = (year or 0.0) + (month or 0.0) / 12
    return age if 0 <= age <= 120 else None


def parse_sex(text: str) -> Sex | None:
    """female or male; None for others and for what is not recorded."""
    match text.casefold():
        case "female" | "f":
            return "female"
        case "male" | "m":
            return "male"
    return None


def parse_pmid(text: str) -> str | None:
    """'PMID:12345678' or a bare number -> 'PMID:12345678'."""
    match = _PMID.match(text)
    return f"PMID:{match[1]}" if match else None


def parse_consent(
    default: Consent, *, agreed: str = "", purposes: str = "", expires: str = "", alone: str = ""
) -> tuple[Consent, bool]:
    """(the consent of a row, whether its cells were understood); ``default`` where they are empty.

    ``purposes`` such as 'train;match' replaces the default's; ``expires`` is an ISO date; ``agreed`` is a yes or
    a no. A no permits nothing; nor does an unknown purpose, an unknown word or an unreadable date. ``alone``, a
    yes or a no, is the agreement to be a gallery row of one's own; an unknown word there is a no.
    """
    granted, until = default.purposes, default.expires
    single = alone.casefold() in _AGREED if alone else default.alone
    if agreed and agreed.casefold() not in _AGREED:
        return Consent(), agreed.casefold() in _DECLINED
    try:
        if purposes:
            granted = frozenset(Purpose(p.strip().casefold()) for p in re.split(r"[;,|]", purposes) if p.strip())
        if expires:
            until = datetime.date.fromisoformat(expires[:10])
    except ValueError:
        return Consent(), False
    understood = not alone or single or alone.casefold() in _DECLINED
    return Consent(purposes=granted, expires=until, alone=single), understood


def parse_terms(present: str, absent: str) -> tuple[tuple[str, ...], tuple[str, ...], int]:
    """(HPO terms present, absent, entries that are no term)."""
    here, unknown_here = ontology.hpo_terms(present)
    away, unknown_away = ontology.hpo_terms(absent)
    return here, away, unknown_here + unknown_away


def merge(rows: Sequence[Attributes]) -> Attributes:
    """One patient's attributes from those of all the patient's photos.

    A feature seen once is present; the age is that of the earliest photo; where rows disagree on sex, ancestry
    or publication it is not recorded; a purpose, and standing alone, counts only if every row grants it, until the
    earliest date.
    """
    if not rows:
        return Attributes()
    present = tuple(dict.fromkeys(term for row in rows for term in row.hpo_present))
    absent = tuple(dict.fromkeys(term for row in rows for term in row.hpo_absent if term not in present))
    ages = [row.age_years for row in rows if row.age_years is not None]
    expiries = [row.consent.expires for row in rows if row.consent.expires is not None]
    purposes = frozenset.intersection(*(row.consent.purposes for row in rows))
    sexes: set[Sex] = {row.sex for row in rows if row.sex is not None}
    return Attributes(
        hpo_present=present,
        hpo_absent=absent,
        age_years=min(ages, default=None),
        sex=sexes.pop() if len(sexes) == 1 else None,
        ancestry=_only({row.ancestry for row in rows if row.ancestry}),
        pmid=_only({row.pmid for row in rows if row.pmid}),
        consent=Consent(
            purposes=purposes, expires=min(expiries, default=None), alone=all(row.consent.alone for row in rows)
        ),
        unknown_terms=sum(row.unknown_terms for row in rows),
        unread_consents=sum(row.unread_consents for row in rows),
        says_consent=any(row.says_consent for row in rows),
    )


def notes(rows: Iterable[Attributes]) -> list[str]:
    """What was left out of these rows, in counts alone."""
    found = list(rows)
    terms = sum(row.unknown_terms for row in found)
    consents = sum(row.unread_consents for row in found)
    lines = []
    if terms:
        lines.append(f"{terms} entries among the features are no HPO identifiers and were left out")
    if consents:
        lines.append(f"{consents} rows have an entry on consent that is not understood; it permits nothing")
    return lines


def patient(id: str, photos: tuple[Photo, ...], syndrome: str | None, facts: Attributes) -> Patient:
    """The record of a patient with these facts."""
    return Patient(
        id=id,
        photos=photos,
        syndrome=syndrome,
        hpo_present=facts.hpo_present,
        hpo_absent=facts.hpo_absent,
        age_years=facts.age_years,
        sex=facts.sex,
        ancestry=facts.ancestry,
        pmid=facts.pmid,
        consent=facts.consent,
    )


def _only(values: set[str]) -> str | None:
    return values.pop() if len(values) == 1 else None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < 1e4 else None
