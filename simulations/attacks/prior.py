"""Chosen questions and other patients' embeddings recover a prototype.

    for line in measure(patients, seed=0):
        line.profile, line.patients, line.queries, line.cosine, line.reidentified

The prototype is a row that one silo alone holds, the case that masks do not hide. The insider knows a share of all
patients, none of whom is in the row, and asks along the axes on which those differ most. Then everybody's
embedding is compared: with what was recovered, and by what the same questions say of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.privacy.disclosure import STANDARD, STRICT, Profile
from common.ranking.patients import unit
from common.seeding import generator
from simulations.attacks.insider import Patients, Prior, Vectors, cosines, panel_deviation

PARTS = 4
"""The patients are dealt into so many parts, each attacked in turn."""

SIZES = (1, 3, 5)
QUERIES = (0, 1, 8, 16, 32, 64, 128)


@dataclass(frozen=True)
class Recovered:
    """Means over all prototypes.

    Attributes:
        profile: whose noise was added.
        known: share of all patients whom the insider knows.
        patients: behind each prototype.
        queries: m, asked.
        spent: whether they are the whole budget of a year.
        prototypes: how many were attacked.
        cosine: of the recovered row and the true one.
        reidentified: a patient of the row is the most alike to what was recovered, among all patients.
        confirmed: a patient of the row is the one whose own answers to the same questions come nearest.
    """

    profile: str
    known: float
    patients: int
    queries: int
    spent: bool
    prototypes: int
    cosine: float
    reidentified: float
    confirmed: float


def measure(
    patients: Patients,
    *,
    seed: int,
    profiles: Sequence[Profile] = (STRICT, STANDARD),
    queries: Sequence[int] = QUERIES,
) -> list[Recovered]:
    """Each profile's noise ('open' has that of 'standard'), and insiders who know most others, or a quarter."""
    parts = generator(seed, "parts").permutation(len(patients.matrix)) % PARTS
    return [
        line
        for profile in profiles
        for known in ((PARTS - 1) / PARTS, 1 / PARTS)
        for size in SIZES
        for line in _lines(patients, parts, profile, known=known, size=size, queries=queries, seed=seed)
    ]


def _lines(
    patients: Patients,
    parts: NDArray[np.int64],
    profile: Profile,
    *,
    known: float,
    size: int,
    queries: Sequence[int],
    seed: int,
) -> Iterator[Recovered]:
    deviation = panel_deviation(profile)
    found: dict[int, list[NDArray[np.floating]]] = {
        count: [] for count in queries if count <= patients.matrix.shape[1]
    }
    for part in range(PARTS):
        mine = parts == part
        victims, knows = (mine, ~mine) if known > 0.5 else (~mine, mine)
        draws = generator(seed, "prior", part, size)
        groups = np.array(patients.groups(size, among=victims, generator=draws))
        rows = unit(patients.matrix[groups].mean(axis=1))
        prior = Prior.from_known(patients.matrix[knows])
        for count, outcomes in found.items():
            asked = prior.questions(count).T
            answers = rows @ asked + deviation * draws.normal(size=(len(rows), count))
            recovered = prior.recover(answers, deviation=deviation)
            alike = patients.nearest(recovered)
            closest = _closest(answers, patients.matrix @ asked)
            outcomes.append(
                np.stack(
                    [
                        cosines(recovered, rows),
                        np.any(groups == alike[:, None], axis=1),
                        np.any(groups == closest[:, None], axis=1) & (count > 0),
                    ]
                )
            )
    for count, outcomes in found.items():
        whole = np.concatenate(outcomes, axis=1)
        spent = count == profile.queries_a_year
        yield Recovered(profile.name, known, size, count, spent, whole.shape[1], *whole.mean(axis=1).tolist())


def _closest(answers: Vectors, everybody: Vectors) -> NDArray[np.int64]:
    """(n,) whose own answers (p, m) lie nearest to each of (n, m)."""
    found: NDArray[np.int64] = np.argmin(np.sum(everybody**2, axis=1) - 2 * answers @ everybody.T, axis=1)
    return found
