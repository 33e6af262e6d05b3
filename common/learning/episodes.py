"""N-way K-shot episodes, drawn from one silo's patients.

A syndrome can be asked for when it has two photos. With two patients or more, support and queries never share a
patient, since the model would learn to recognise people; a syndrome with one patient splits its photos.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.learning.plan import EpisodePlan

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Episode:
    """Photo indices: ``support`` (s,) and ``query`` (q,) with their ways 0..``ways``-1 beside them."""

    ways: int
    support: Indices
    support_ways: Indices
    query: Indices
    query_ways: Indices


class EpisodeSampler:
    """Draws episodes from labels (n,) and patients (n,).

    ``usable`` are the syndromes with at least two photos; with fewer than two of them no episode exists.
    """

    def __init__(self, labels: Indices, patients: Indices, plan: EpisodePlan) -> None:
        self._plan = plan
        self._units = {int(label): _units(labels, patients, label) for label in np.unique(labels)}
        self.usable = tuple(label for label, units in self._units.items() if len(units) > 1)

    def __bool__(self) -> bool:
        """Whether any episode can be drawn."""
        return len(self.usable) > 1

    def draw(self, rng: np.random.Generator) -> Episode:
        """One episode: a patient counts once in it, by one photo drawn at random."""
        ways = min(self._plan.ways, len(self.usable))
        chosen = rng.choice(np.array(self.usable), size=ways, replace=False)
        support: list[list[int]] = []
        query: list[list[int]] = []
        for label in chosen:
            units = self._units[int(label)]
            order = rng.permutation(len(units))
            photos = [int(rng.choice(units[index])) for index in order]
            queries = min(self._plan.queries, max(1, len(photos) - self._plan.shots))
            query.append(photos[:queries])
            support.append(photos[queries : queries + self._plan.shots])
        return Episode(ways, *_flatten(support), *_flatten(query))

    def size(self) -> int:
        """Photos of a full episode: how far one goes in a pass over the silo's patients."""
        return min(self._plan.ways, len(self.usable)) * (self._plan.shots + self._plan.queries)


def _units(labels: Indices, patients: Indices, label: int) -> list[Indices]:
    """Photo indices that may stand on both sides of an episode: by patient, or by photo for a single patient."""
    photos = np.flatnonzero(labels == label)
    owners = np.unique(patients[photos])
    if len(owners) == 1:
        return [photos[index : index + 1] for index in range(len(photos))]
    return [photos[patients[photos] == owner] for owner in owners]


def _flatten(groups: list[list[int]]) -> tuple[Indices, Indices]:
    ways = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    return np.array([photo for group in groups for photo in group], dtype=np.int64), ways
