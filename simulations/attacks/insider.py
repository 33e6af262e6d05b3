"""What the attacks share: the patients of a run, and how answers and prior knowledge become an embedding."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from common.encryption.panel import SMALLEST_PANEL
from common.errors import CohortError
from common.privacy.disclosure import Profile
from common.ranking.patients import unit
from simulations.finished import FinishedRun

Vectors = NDArray[np.float64]


@dataclass(frozen=True)
class Patients:
    """``matrix``: (n, d) unit rows. ``syndromes``: (n,) the syndrome of each."""

    matrix: Vectors
    syndromes: NDArray[np.str_]

    @classmethod
    def of(cls, run: FinishedRun) -> Self:
        """All patients of a run, whatever their role in it."""
        embeddings, syndrome_of = run.patients, run.syndrome_of
        return cls(embeddings.matrix.astype(np.float64), np.array([syndrome_of[name] for name in embeddings.ids]))

    def groups(self, size: int, *, among: NDArray[np.bool_], generator: np.random.Generator) -> list[list[int]]:
        """Disjoint groups of ``size`` patients with one syndrome each, out of those chosen."""
        found = []
        for syndrome in np.unique(self.syndromes):
            mine = generator.permutation(np.flatnonzero(among & (self.syndromes == syndrome))).tolist()
            found += [mine[at : at + size] for at in range(0, len(mine) - size + 1, size)]
        if not found:
            raise CohortError(
                f"no {size} patients of one syndrome stand together", remedy="attack a run with more patients"
            )
        return found

    def nearest(self, vectors: Vectors) -> NDArray[np.int64]:
        """(m,) who of all is most alike each row of (m, d)."""
        found: NDArray[np.int64] = np.argmax(unit(vectors) @ self.matrix.T, axis=1)
        return found


@dataclass(frozen=True)
class Prior:
    """The insider's knowledge: ``mean`` (d,), ``axes`` (d, d) unit rows of falling ``variances`` (d,)."""

    mean: Vectors
    axes: Vectors
    variances: Vectors

    @classmethod
    def from_known(cls, known: Vectors) -> Self:
        """From embeddings (n, d) of other patients."""
        mean = known.mean(axis=0)
        _, lengths, axes = np.linalg.svd(known - mean, full_matrices=True)
        variances = np.zeros(len(mean))
        variances[: len(lengths)] = lengths**2 / len(known)
        return cls(mean, axes, variances)

    def questions(self, count: int) -> Vectors:
        """(m, d) unit rows: the axes along which patients differ most, which tell most of an embedding each."""
        return self.axes[:count]

    def recover(self, answers: Vectors, *, deviation: float = 0.0) -> Vectors:
        """(n, d) the likeliest rows behind answers (n, m) to the first m questions, normal noise included."""
        count = answers.shape[1]
        known = self.variances[:count]
        trust: Vectors = known / np.maximum(known + deviation**2, np.finfo(float).tiny)
        rows: Vectors = self.mean + (trust * (answers - self.mean @ self.axes[:count].T)) @ self.axes[:count]
        return rows


def panel_deviation(profile: Profile) -> float:
    """Standard deviation of the noise in a sum of the smallest panel, in which each silo adds its own."""
    return profile.noise * math.sqrt(SMALLEST_PANEL)


def cosines(first: NDArray[np.floating], second: NDArray[np.floating]) -> Vectors:
    """(n,) row by row."""
    products: Vectors = np.sum(unit(first) * unit(second), axis=1)
    return products
