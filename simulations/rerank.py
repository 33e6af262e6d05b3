"""Rank every test patient of a finished run under encryption, beside the same formula in clear.

    for line in rerank(Path("runs/facebench"), profiles=["strict"], kernels=["linear"]):
        line.encrypted["top10"], line.clear["top10"], line.moved, line.withheld

Silos that add the same noise give the same answers whatever their floors, so each kernel is asked once for each
noise, and a profile's floors then take syndromes out of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.cohort.splits import Setting
from common.encryption.layout import Kernel
from common.encryption.sanitise import Noise
from common.privacy.disclosure import Profile, by_name
from simulations import accuracy
from simulations.encrypted import MODE, noise_of, smallest_panel
from simulations.finished import FinishedRun, open_run
from simulations.predictions import Prediction
from simulations.progress import Progress, Silent
from simulations.questions import Answers, Asked, ask_all, chosen_cases

CLEAR = "clear"


@dataclass(frozen=True)
class Reranked:
    """One setting under one kernel and profile.

    Attributes:
        rankings: a test patient in a split each.
        syndromes, answerable: in the gallery of a split, and those that the profile answers; means over splits.
        encrypted: top1, top5, top10, top30, macro-averaged, means over splits.
        clear: the same by the formula in clear, without floors.
        moved: rankings in which the place of the true syndrome differs from clear under the same floors.
        withheld: rankings whose true syndrome is not answered.
        difference: the largest of a score.
        most_asked: queries of the hospital that asked most, in all settings together.
    """

    kernel: str
    profile: str
    setting: str
    splits: int
    rankings: int
    syndromes: float
    answerable: float
    encrypted: dict[str, float]
    clear: dict[str, float]
    moved: int
    withheld: int
    difference: float
    most_asked: int


def rerank(
    run: Path,
    *,
    profiles: Sequence[str],
    kernels: Sequence[Kernel],
    model: str = "federated",
    progress: Progress | None = None,
) -> list[Reranked]:
    """Every test patient, all settings, all rare splits.

    Raises:
        RunError: no finished run, or none with that model.
        DisclosureError: no such profile.
    """
    chosen = [by_name(name, simulated=True) for name in profiles]
    finished = open_run(run, model=model)
    cases = chosen_cases(finished.evaluation, list(Setting), splits=None, queries=None)
    lines: list[Reranked] = []
    for kernel in kernels:
        known: dict[Noise, Answers] = {}
        for profile in chosen:
            noise = noise_of(profile)
            if noise not in known:
                known[noise] = ask_all(
                    cases,
                    finished.evaluation,
                    finished.encodings,
                    kernel=kernel,
                    noise=noise,
                    smallest=min(smallest_panel(item) for item in chosen if noise_of(item) == noise),
                    progress=progress or Silent(),
                )
            lines += _lines(finished, known[noise], kernel, profile)
    return lines


def _lines(finished: FinishedRun, answers: Answers, kernel: Kernel, profile: Profile) -> Iterator[Reranked]:
    for setting in Setting:
        before = [part for part in answers.asked if part.setting is setting]
        asked = [part.under(profile) for part in before]
        if not asked:
            continue
        secret, same = _rows(finished, asked, encrypted=True), _rows(finished, asked, encrypted=False)
        whole = _rows(finished, before, encrypted=False)
        galleries = {part.case.split: (len(part.syndromes), len(part.answered())) for part in asked}
        syndromes, answerable = np.mean(list(galleries.values()), axis=0).tolist()
        yield Reranked(
            kernel,
            profile.name,
            setting.value,
            splits=len(galleries),
            rankings=len(secret),
            syndromes=syndromes,
            answerable=answerable,
            encrypted=_top(secret),
            clear=_top(whole),
            moved=sum(one.rank != other.rank for one, other in zip(secret, same, strict=True)),
            withheld=sum(row.rank > row.classes for row in secret) - sum(row.rank > row.classes for row in whole),
            difference=max(_difference(part) for part in asked),
            most_asked=answers.most_asked,
        )


def _rows(finished: FinishedRun, asked: Sequence[Asked], *, encrypted: bool) -> list[Prediction]:
    mode = MODE if encrypted else CLEAR
    return [row for part in asked for row in part.predictions(finished.evaluation, mode=mode, encrypted=encrypted)]


def _top(rows: Sequence[Prediction]) -> dict[str, float]:
    (settings,) = accuracy.table(rows, "encryptable").values()
    (figures,) = settings.values()
    return {key: value for key, value in figures.items() if key != "classes"}


def _difference(part: Asked) -> float:
    differences = np.abs(part.clear - part.secret)
    return float(differences[~np.isnan(differences)].max(initial=0.0))
