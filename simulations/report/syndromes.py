"""From predictions: how each syndrome fares, and which ones are taken for which."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from simulations.predictions import Prediction
from simulations.report.source import Source

TOP = (1, 5, 10)
SHOWN_CONFUSIONS = 12
SHOWN_SYNDROMES = 15
ENOUGH_PATIENTS = 3


@dataclass(frozen=True)
class SyndromeRow:
    """One syndrome. ``hits``: k -> share of tests of the main mode; ``before``: pretrained top-10, if another."""

    name: str
    identifiers: str
    group: str
    trained: int
    patients: int
    tests: int
    hits: dict[int, float]
    middle: float
    before: float | None


@dataclass(frozen=True)
class Confusion:
    """``share`` of the tests of ``truth`` put ``mistaken`` first; ``back``: the same the other way round."""

    truth: str
    mistaken: str
    share: float
    patients: int
    tests: int
    back: float | None


def chosen_settings(source: Source) -> tuple[str, ...]:
    """Against the whole gallery where that was run, else within frequent and rare apart."""
    held = set(source.settings)
    pairs = (("F/both", "F/F"), ("R/both", "R/R"))
    return tuple(whole if whole in held else apart for whole, apart in pairs if {whole, apart} & held)


def syndrome_rows(source: Source) -> list[SyndromeRow]:
    """Every tested syndrome, hardest first by top-10, then top-5, top-1 and name."""
    settings = chosen_settings(source)
    mine = _by_label(_of(source.tests, source.main, settings))
    before = _by_label(_of(source.tests, "pretrained", settings)) if source.main != "pretrained" else {}
    trained = _training_patients(source)
    rows = []
    for label, tests in mine.items():
        syndrome = source.syndrome(label)
        rows.append(
            SyndromeRow(
                name=syndrome.name,
                identifiers=", ".join(syndrome.identifiers),
                group="frequent" if tests[0].setting.startswith("F") else "rare",
                trained=trained.get(label, 0),
                patients=len({row.subject for row in tests}),
                tests=len({(row.split, row.image) for row in tests}),
                hits={k: _share(tests, k) for k in TOP},
                middle=float(median(row.rank for row in tests)),
                before=_share(before[label], 10) if label in before else None,
            )
        )
    return sorted(rows, key=lambda row: (row.hits[10], row.hits[5], row.hits[1], row.name))


def hardest(rows: Sequence[SyndromeRow]) -> list[SyndromeRow]:
    """The first of those with enough test patients to mean something; where there are too few, of all."""
    tested = [row for row in rows if row.patients >= ENOUGH_PATIENTS]
    return list(tested if len(tested) >= SHOWN_SYNDROMES else rows)[:SHOWN_SYNDROMES]


def confusions(source: Source) -> list[Confusion]:
    """The pairs most often taken for one another, of at least two patients where there are such."""
    tests = _by_label(_of(source.tests, source.main, chosen_settings(source)))
    wrong: dict[str, Counter[str]] = {}
    patients: dict[tuple[str, str], set[str]] = defaultdict(set)
    for label, rows in tests.items():
        wrong[label] = Counter(row.top[0][0] for row in rows if row.top and row.rank > 1)
        for row in rows:
            if row.top and row.rank > 1:
                patients[label, row.top[0][0]].add(row.subject)
    pairs = [
        Confusion(
            truth=source.syndrome(label).name,
            mistaken=source.syndrome(other).name,
            share=number / len(tests[label]),
            patients=len(patients[label, other]),
            tests=len({(row.split, row.image) for row in tests[label]}),
            back=wrong[other][label] / len(tests[other]) if other in tests else None,
        )
        for label, counts in wrong.items()
        for other, number in counts.items()
    ]
    several = [pair for pair in pairs if pair.patients > 1] or pairs
    return sorted(several, key=lambda pair: (-pair.share, pair.truth, pair.mistaken))[:SHOWN_CONFUSIONS]


def _of(rows: Iterable[Prediction], mode: str, settings: Sequence[str]) -> list[Prediction]:
    """A mode's rows, those of each silo's model together."""
    return [row for row in rows if row.mode.partition("/")[0] == mode and row.setting in settings]


def _by_label(rows: Iterable[Prediction]) -> dict[str, list[Prediction]]:
    groups: dict[str, list[Prediction]] = defaultdict(list)
    for row in rows:
        groups[row.label].append(row)
    return groups


def _share(rows: Sequence[Prediction], k: int) -> float:
    """Mean over splits, and models, of the share of tests within the first k."""
    groups: dict[tuple[str, int], list[bool]] = defaultdict(list)
    for row in rows:
        groups[row.mode, row.split].append(row.rank <= k)
    return sum(sum(hits) / len(hits) for hits in groups.values()) / len(groups)


def _training_patients(source: Source) -> dict[str, int]:
    protocol = source.cohort.protocol
    if protocol is None:
        return {}
    pairs = {(protocol.label_of[photo], protocol.patient_of[photo]) for photo in protocol.train}
    return dict(Counter(label for label, _ in pairs))
