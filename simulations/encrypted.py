"""The encrypted ranking of a run: each probe's hospital asks the others, and the scores are compared with clear.

A probe is a query of the silo that it belongs to. The panel is the other silos; the querier adds its own silo's
part in clear. Counts travel in clear between the simulated silos; deployed ones seal them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.encryption import Cost, EncryptedRanker
from common.encryption.panel import SMALLEST_PANEL
from common.errors import DisclosureError
from common.ranking.kernel import linear, patients_per_syndrome, weighted_rows
from common.ranking.patients import Encodings
from common.ranking.scores import Gallery
from simulations.evaluation import Case, Evaluation, predictions
from simulations.predictions import Prediction
from simulations.progress import Progress
from simulations.scenario import Encryption

MODE = "encrypted"
SHOWN_PAIRS = 2000


@dataclass(frozen=True)
class Encrypted:
    """What encrypted ranking gave and cost.

    ``clear``, ``encrypted``: (n, S) scores of the same probes, by the formula and under encryption. Bytes are
    of one query and one silo.
    """

    predictions: list[Prediction] = field(repr=False)
    clear: list[NDArray[np.float32]] = field(repr=False)
    encrypted: list[NDArray[np.float32]] = field(repr=False)
    syndromes: int = 0
    seconds: float = 0.0
    bytes_up: float = 0.0
    bytes_down: float = 0.0
    noise: bool = True
    notes: tuple[str, ...] = ()

    @property
    def queries(self) -> int:
        return sum(len(scores) for scores in self.clear)

    def figures(self) -> dict[str, Any]:
        """The part of results.json, without accuracies."""
        pairs = list(zip(self.clear, self.encrypted, strict=True))
        errors = [float(np.nanmax(np.abs(clear - secret))) for clear, secret in pairs]
        return {
            "kernel": "linear",
            "noise": self.noise,
            "queries": self.queries,
            "syndromes": self.syndromes,
            "max_abs_error": max(errors, default=0.0),
            "top1_agreement": _agreement(pairs, 1),
            "top10_agreement": _agreement(pairs, 10),
            "seconds_per_query": self.seconds / max(self.queries, 1),
            "bytes_up": self.bytes_up,
            "bytes_down": self.bytes_down,
            "pairs": _sample(pairs),
        }


def check_panels(settings: Encryption, silos: Sequence[str]) -> None:
    """Say before a run trains for long that its silos cannot form a panel.

    Raises:
        DisclosureError: encryption is on with the standard profile, and fewer than four silos take part.
    """
    if settings.enabled and settings.profile == "standard" and len(silos) < SMALLEST_PANEL + 1:
        raise DisclosureError(
            f"{len(silos)} silos are too few to rank under encryption: with fewer than {SMALLEST_PANEL} besides "
            "the querier's an answer would tell one hospital's part",
            remedy="use four silos or more, or set encryption.enabled=false (or encryption.profile=simulation)",
        )


def rank_encrypted(
    settings: Encryption, evaluation: Evaluation, encodings: Encodings, progress: Progress
) -> Encrypted:
    """Rank at most ``settings.queries`` probes of each setting under encryption, on the setting's first split."""
    rows: list[Prediction] = []
    clear: list[NDArray[np.float32]] = []
    secret: list[NDArray[np.float32]] = []
    costs: list[tuple[float, float]] = []
    notes: list[str] = []
    seconds, largest = 0.0, 0
    cases = [(setting, case) for setting in settings.settings for case in evaluation.cases(setting)[:1]]
    total = sum(min(len(case.probes), settings.queries) for _, case in cases)
    with progress.stage("ranking under encryption", total) as advance:
        for setting, case in cases:
            held = evaluation.gallery(encodings, case)
            for silo, probes in _by_silo(evaluation, case, settings.queries).items():
                advance(len(probes))
                if settings.profile == "standard" and len(set(held.silos) - {silo}) < SMALLEST_PANEL:
                    notes.append(f"{silo} had too few other hospitals with a gallery to ask in {setting.value}")
                    continue
                queries = evaluation.probes(encodings, probes)
                started = time.monotonic()
                scores, cost = _ask_others(held, silo, queries, settings)
                seconds += time.monotonic() - started
                costs.append((cost.bytes_up, cost.bytes_down))
                clear.append(linear(queries, list(held.prototypes().values()), syndromes=held.syndromes))
                secret.append(scores)
                rows += predictions(
                    evaluation,
                    case.split,
                    probes,
                    scores,
                    held.syndromes,
                    mode=MODE,
                    scorer="encryptable",
                    setting=setting.value,
                )
            largest = max(largest, len(held.syndromes))
    up, down = np.mean(costs, axis=0).tolist() if costs else (0.0, 0.0)
    return Encrypted(rows, clear, secret, largest, seconds, up, down, settings.noise, tuple(notes))


def _ask_others(
    held: Gallery, silo: str, queries: NDArray[np.float32], settings: Encryption
) -> tuple[NDArray[np.float32], Cost]:
    """Scores (n, S) of queries of ``silo``: the other silos' encrypted sum and its own part in clear.

    The panel weighs by its own totals; the querier, who knows the consortium's, brings its answer to them.
    """
    prototypes = held.prototypes()
    totals = patients_per_syndrome(prototypes.values())
    others = {name: rows for name, rows in prototypes.items() if name != silo}
    of_others = patients_per_syndrome(others.values())
    share = np.array([of_others.get(key, 0) / totals[key] for key in held.syndromes])
    with EncryptedRanker(
        others, syndromes=held.syndromes, noise=settings.noise, profile=settings.profile
    ) as ranker:
        answer, cost = ranker.rank(queries)
    scores = np.nan_to_num(answer.astype(np.float64)) * share
    if silo in prototypes:
        own = weighted_rows(prototypes[silo], syndromes=held.syndromes, totals=totals)
        scores += queries.astype(np.float64) @ own.T
    return scores.astype(np.float32), cost


def _by_silo(evaluation: Evaluation, case: Case, limit: int) -> dict[str, list[tuple[str, ...]]]:
    """Probes by the hospital that asks with them, at most ``limit``, spread evenly over the case."""
    step = max(1, len(case.probes) // limit)
    groups: dict[str, list[tuple[str, ...]]] = {}
    for probe in case.probes[::step][:limit]:
        groups.setdefault(evaluation.silo(probe), []).append(probe)
    return dict(sorted(groups.items(), key=lambda item: item[0].encode()))


def _agreement(pairs: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]], k: int) -> float:
    """Fraction of queries whose first k syndromes are the same set."""
    same = [
        set(np.argsort(-clear, kind="stable")[:k]) == set(np.argsort(-secret, kind="stable")[:k])
        for clears, secrets in pairs
        for clear, secret in zip(clears, secrets, strict=True)
    ]
    return float(np.mean(same)) if same else 1.0


def _sample(pairs: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]]) -> list[tuple[float, float]]:
    """At most ``SHOWN_PAIRS`` (clear, encrypted) scores, evenly taken, for the report's scatter."""
    if not pairs:
        return []
    both = np.concatenate([np.stack([c.ravel(), s.ravel()], axis=1) for c, s in pairs])
    step = max(1, len(both) // SHOWN_PAIRS)
    return [(round(float(c), 7), round(float(s), 7)) for c, s in both[::step][:SHOWN_PAIRS]]
