"""Every probe of a run asked under encryption by its own hospital, and the same in clear.

A probe stands in several cases, such as ten rare splits: it is encrypted once, and answered for all of them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from common.cohort.splits import Setting
from common.consortium.counts import Totals
from common.encryption import Cost
from common.encryption.layout import Kernel
from common.encryption.panel import SMALLEST_PANEL
from common.encryption.sanitise import Noise
from common.privacy.disclosure import Profile, answerable
from common.ranking.patients import Encodings, Floats
from simulations.consortium import Consortium
from simulations.evaluation import Case, Evaluation, predictions
from simulations.predictions import Prediction
from simulations.progress import Progress

Probe = tuple[str, ...]


@dataclass(frozen=True)
class Asked:
    """One hospital's probes in one case, before any floor.

    ``clear``, ``secret``: (n, S) scores by the formula and under encryption. ``totals``: of the S syndromes.
    """

    setting: Setting
    case: Case
    probes: tuple[Probe, ...]
    syndromes: tuple[str, ...]
    totals: Totals
    clear: Floats = field(repr=False)
    secret: Floats = field(repr=False)

    def under(self, profile: Profile) -> Asked:
        """The same where a profile's floors take syndromes out of the answer: NaN in both scores."""
        withheld = ~answerable(profile, self.totals)
        clear, secret = (np.where(withheld, np.nan, scores) for scores in (self.clear, self.secret))
        return replace(self, clear=clear.astype(np.float32), secret=secret.astype(np.float32))

    def answered(self) -> frozenset[str]:
        """The syndromes that have a score."""
        known = np.flatnonzero(~np.isnan(self.secret).all(axis=0))
        return frozenset(self.syndromes[column] for column in known)

    def predictions(self, evaluation: Evaluation, *, mode: str, encrypted: bool = True) -> list[Prediction]:
        """What ranking by one of the scores gives. A syndrome without an answer is not in the list."""
        scores = self.secret if encrypted else self.clear
        rows = predictions(
            evaluation,
            self.case.split,
            self.probes,
            scores,
            self.syndromes,
            mode=mode,
            scorer="encryptable",
            setting=self.setting.value,
        )
        known = self.answered()
        return [_without(row, known) for row in rows]


@dataclass(frozen=True)
class Answers:
    """All that was asked. ``most_asked``: queries of the hospital that asked most, which is what a budget counts.

    ``bytes_up``, ``bytes_down``: of one query and one silo. ``notes``: which hospitals could not ask.
    """

    asked: tuple[Asked, ...]
    queries: int
    most_asked: int
    seconds: float
    bytes_up: float
    bytes_down: float
    notes: tuple[str, ...]


def chosen_cases(
    evaluation: Evaluation, settings: Sequence[Setting], *, splits: int | None, queries: int | None
) -> list[tuple[Setting, Case]]:
    """At most so many splits of each setting, with at most so many probes each, evenly taken; None for all."""
    found = []
    for setting in settings:
        for case in evaluation.cases(setting)[:splits]:
            limit = queries or len(case.probes)
            step = max(1, len(case.probes) // limit)
            found.append((setting, replace(case, probes=case.probes[::step][:limit])))
    return found


def ask_all(
    cases: Sequence[tuple[Setting, Case]],
    evaluation: Evaluation,
    encodings: Encodings,
    *,
    kernel: Kernel,
    noise: Noise,
    smallest: int = SMALLEST_PANEL,
    progress: Progress,
) -> Answers:
    """Ask with every probe of the cases.

    Args:
        smallest: silos that a querier's panel must have; a hospital with fewer others does not ask.
    """
    galleries = {_name(setting, case): evaluation.gallery(encodings, case) for setting, case in cases}
    consortium = Consortium(galleries, kernel=kernel)
    able, unable = _by_silo(evaluation, cases), []
    for silo in list(able):
        if len(consortium.others(silo)) < smallest:
            unable.append(f"{silo} had too few other hospitals with a gallery to ask")
            del able[silo]
    asked: list[Asked] = []
    costs: list[Cost] = []
    started = time.monotonic()
    with progress.stage(f"ranking under encryption, {kernel}", sum(map(len, able.values()))) as advance:
        for silo, probes in able.items():
            queries = evaluation.probes(encodings, probes)
            secret, cost = consortium.ask(silo, queries, noise=noise, advance=advance)
            costs.append(cost)
            asked += _sorted_out(consortium, cases, probes, consortium.in_clear(queries), secret)
    return Answers(
        tuple(asked),
        queries=sum(map(len, able.values())),
        most_asked=max(map(len, able.values()), default=0),
        seconds=time.monotonic() - started,
        bytes_up=float(np.mean([cost.bytes_up for cost in costs])) if costs else 0.0,
        bytes_down=float(np.mean([cost.bytes_down for cost in costs])) if costs else 0.0,
        notes=tuple(unable),
    )


def _sorted_out(
    consortium: Consortium,
    cases: Sequence[tuple[Setting, Case]],
    probes: Sequence[Probe],
    clear: Floats,
    secret: Floats,
) -> Iterator[Asked]:
    """The scores of one hospital's probes, (n, R) over all rows, case by case."""
    place = {probe: index for index, probe in enumerate(probes)}
    for setting, case in cases:
        mine = tuple(probe for probe in case.probes if probe in place)
        if mine:
            name, rows = _name(setting, case), [place[probe] for probe in mine]
            yield Asked(
                setting,
                case,
                mine,
                consortium.syndromes(name),
                consortium.totals_of(name),
                consortium.scores(name, clear[rows]),
                consortium.scores(name, secret[rows]),
            )


def _name(setting: Setting, case: Case) -> str:
    return f"{setting.value} {case.split}"


def _by_silo(evaluation: Evaluation, cases: Sequence[tuple[Setting, Case]]) -> dict[str, list[Probe]]:
    """Each probe once, by the hospital that asks with it."""
    groups: dict[str, list[Probe]] = {}
    for probe in dict.fromkeys(probe for _, case in cases for probe in case.probes):
        groups.setdefault(evaluation.silo(probe), []).append(probe)
    return dict(sorted(groups.items(), key=lambda item: item[0].encode()))


def _without(row: Prediction, answered: frozenset[str]) -> Prediction:
    """The prediction without syndromes that have no score, whose places among the others mean nothing."""
    top = tuple((key, score) for key, score in row.top if key in answered)
    return replace(row, top=top, rank=row.rank if row.label in answered else row.classes + 1)
