"""What a model card tells beside the manifest: data sizes, who the patients are, figures and their sources."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from common.cohort.schema import Patient
from common.releases.small_cells import LEAST

NOT_RECORDED = "not recorded"
OTHERS = "others"

_AGES = ((2, "0 to 1"), (6, "2 to 5"), (12, "6 to 11"), (18, "12 to 17"), (200, "18 and over"))


@dataclass(frozen=True)
class SiloSize:
    """What one silo trained on; ``syndromes`` is None where nobody else knows."""

    name: str
    patients: int
    photos: int
    syndromes: int | None = None


@dataclass(frozen=True)
class Figure:
    """Accuracies of one mode in one setting: fractions by top-k, and their 95 % intervals where there are any."""

    mode: str
    setting: str
    classes: int
    top: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class People:
    """Patients by age in years, sex and ancestry; an empty table where nobody's is recorded."""

    ages: Mapping[str, int] = field(default_factory=dict)
    sexes: Mapping[str, int] = field(default_factory=dict)
    ancestries: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class CardFacts:
    """Everything that a run knows of itself and a card may tell; what is empty is told as not recorded.

    ``data``: what kind of photos; ``aim``: what the run was for, as its plan says; ``left_out``: rounds in which a
    silo had no part, by silo; ``discarded``: rounds that changed nothing; ``sources``: SHA-256 of each file that
    figures come from.
    """

    data: str = ""
    aim: str = ""
    silos: tuple[SiloSize, ...] = ()
    people: People = People()
    scorer: str = ""
    figures: tuple[Figure, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    discarded: int = 0
    sources: Mapping[str, str] = field(default_factory=dict)


def people_of(patients: Iterable[Patient]) -> People:
    """The tables over ``patients``. Ancestries that few patients share stand together as others."""
    listed = tuple(patients)
    sexes = Counter(patient.sex or NOT_RECORDED for patient in listed)
    ages = Counter(_age(patient.age_years) for patient in listed)
    ancestries = Counter(patient.ancestry or NOT_RECORDED for patient in listed)
    named = sorted(name for name, count in ancestries.items() if count >= LEAST and name != NOT_RECORDED)
    rest = sum(count for name, count in ancestries.items() if name not in (*named, NOT_RECORDED))
    pooled = {name: ancestries[name] for name in named} | {OTHERS: rest, NOT_RECORDED: ancestries[NOT_RECORDED]}
    return People(
        ages=_table(ages, [name for _, name in _AGES]),
        sexes=_table(sexes, ["female", "male"]),
        ancestries=pooled if len(listed) > ancestries[NOT_RECORDED] else {},
    )


def _table(counts: Counter[str], rows: list[str]) -> dict[str, int]:
    return {row: counts[row] for row in (*rows, NOT_RECORDED)} if any(counts[row] for row in rows) else {}


def _age(years: float | None) -> str:
    return NOT_RECORDED if years is None else next(name for end, name in _AGES if years < end)
