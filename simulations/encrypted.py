"""The encrypted ranking of a run: each probe's hospital asks the others, and scores are compared with clear."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.encryption.panel import SMALLEST_PANEL
from common.encryption.sanitise import Noise
from common.errors import DisclosureError
from common.privacy.disclosure import SIMULATION, Profile, by_name
from common.ranking.patients import Encodings
from simulations.evaluation import Evaluation
from simulations.predictions import Prediction
from simulations.progress import Progress
from simulations.questions import Answers, Asked, ask_all, chosen_cases
from simulations.scenario import Encryption

MODE = "encrypted"
SHOWN_PAIRS = 2000

Pairs = NDArray[np.float64]


@dataclass(frozen=True)
class Encrypted:
    """What encrypted ranking gave and cost, under the floors of the settings' profile."""

    settings: Encryption
    answers: Answers = field(repr=False)
    asked: tuple[Asked, ...] = field(repr=False)
    predictions: list[Prediction] = field(repr=False)

    @property
    def notes(self) -> tuple[str, ...]:
        """Who could not ask, and what was not answered."""
        answerable = self._answerable()
        withheld = tuple(
            f"the profile {self.settings.profile} answers {counts['answerable']:.3g} of {counts['syndromes']:.3g} "
            f"syndromes in {setting}"
            for setting, counts in answerable.items()
            if counts["answerable"] < counts["syndromes"]
        )
        return (*self.answers.notes, *withheld)

    def figures(self) -> dict[str, Any]:
        """The part of results.json, without accuracies."""
        pairs = _pairs(self.asked)
        step = max(1, len(pairs) // SHOWN_PAIRS)
        return {
            "kernel": self.settings.kernel,
            "profile": self.settings.profile,
            "noise": self.settings.noise,
            "queries": self.answers.queries,
            "most_asked": self.answers.most_asked,
            "budget": by_name(self.settings.profile, simulated=True).queries_a_year,
            "syndromes": max((len(part.syndromes) for part in self.asked), default=0),
            "answerable": self._answerable(),
            "max_abs_error": float(np.abs(pairs[:, 0] - pairs[:, 1]).max(initial=0.0)),
            "top1_agreement": _agreement(self.asked, 1),
            "top10_agreement": _agreement(self.asked, 10),
            "seconds_per_query": self.answers.seconds / max(self.answers.queries, 1),
            "bytes_up": self.answers.bytes_up,
            "bytes_down": self.answers.bytes_down,
            "pairs": [(round(c, 7), round(s, 7)) for c, s in pairs[::step][:SHOWN_PAIRS].tolist()],
        }

    def _answerable(self) -> dict[str, dict[str, float]]:
        """By setting: mean number of syndromes in the gallery of a split, and of those that are answered."""
        found: dict[str, dict[int, tuple[int, int]]] = defaultdict(dict)
        for part in self.asked:
            found[part.setting.value][part.case.split] = (len(part.syndromes), len(part.answered()))
        return {
            setting: dict(
                zip(("syndromes", "answerable"), np.mean(list(splits.values()), axis=0).tolist(), strict=True)
            )
            for setting, splits in found.items()
        }


def check_panels(settings: Encryption, silos: Sequence[str]) -> None:
    """Say before a run trains for long that its silos cannot form a panel.

    Raises:
        DisclosureError: encryption is on, its profile is not simulation, and fewer than four silos take part.
    """
    if settings.enabled and settings.profile != "simulation" and len(silos) < SMALLEST_PANEL + 1:
        raise DisclosureError(
            f"{len(silos)} silos are too few to rank under encryption: with fewer than {SMALLEST_PANEL} besides "
            "the querier's an answer would tell one hospital's part",
            remedy="use four silos or more, or set encryption.enabled=false (or encryption.profile=simulation)",
        )


def rank_encrypted(
    settings: Encryption, evaluation: Evaluation, encodings: Encodings, progress: Progress
) -> Encrypted:
    """Rank probes under encryption, as many as the settings say; budgets are counted, and not enforced."""
    profile = by_name(settings.profile, simulated=True)
    cases = chosen_cases(evaluation, settings.settings, splits=settings.splits, queries=settings.queries)
    answers = ask_all(
        cases,
        evaluation,
        encodings,
        kernel=settings.kernel,
        noise=noise_of(profile) if settings.noise else Noise(0.0),
        smallest=smallest_panel(profile),
        progress=progress,
    )
    asked = tuple(part.under(profile) for part in answers.asked)
    rows = [row for part in asked for row in part.predictions(evaluation, mode=MODE)]
    return Encrypted(settings, answers, asked, rows)


def noise_of(profile: Profile) -> Noise:
    """What each silo adds under a profile."""
    return Noise(profile.noise, scaled=profile.scaled_noise)


def smallest_panel(profile: Profile) -> int:
    """Silos that must answer together."""
    return 1 if profile is SIMULATION else SMALLEST_PANEL


def _agreement(asked: Sequence[Asked], k: int) -> float:
    """Fraction of rankings whose first k answered syndromes are the same set."""
    same = []
    for part in asked:
        first, second = (np.argsort(-scores, axis=1, kind="stable")[:, :k] for scores in (part.clear, part.secret))
        same += [set(clear) == set(secret) for clear, secret in zip(first.tolist(), second.tolist(), strict=True)]
    return float(np.mean(same)) if same else 1.0


def _pairs(asked: Sequence[Asked]) -> Pairs:
    """(m, 2) every score in clear and under encryption, where there is an answer."""
    parts = [np.stack([part.clear.ravel(), part.secret.ravel()], axis=1) for part in asked]
    pairs = np.concatenate([np.zeros((0, 2)), *parts])
    known: Pairs = pairs[~np.isnan(pairs).any(axis=1)]
    return known
