"""The hospitals of a run as they answer each other under encryption: all galleries in one stack.

    consortium = Consortium({"F/F": gallery, "R/R 0": another}, kernel="linear")
    rows, cost = consortium.ask("silo-1", queries, noise=Noise(1e-6))
    scores = consortium.scores("R/R 0", rows)             (n, S), as the other gallery orders its syndromes

A querier asks the other silos, one panel, and adds its own silo's part in clear. Patient counts travel in clear
between simulated silos; deployed ones seal them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from client.ranking.epoch_rows import QUADRATIC_WIDTH
from common.consortium.counts import Totals
from common.encryption import Cost, EncryptedRanker, GalleryStack
from common.encryption.layout import Kernel
from common.encryption.sanitise import Noise
from common.ranking import kernel as formula
from common.ranking.kernel import Prototypes, patients_per_syndrome, rbf_coefficients, single_rows, weighted_rows
from common.ranking.patients import Floats
from common.ranking.scores import Gallery
from common.seeding import generator


class Consortium:
    """The silos of some galleries.

    No silo vetoes, and nobody is taken to have agreed to be a row of its own: the profile 'open' answers here what
    'standard' does.
    """

    def __init__(self, galleries: Mapping[str, Gallery], *, kernel: Kernel = "linear") -> None:
        self._coefficients = rbf_coefficients(QUADRATIC_WIDTH) if kernel == "quadratic" else None
        self._kernel: Kernel = kernel
        held = {name: _rows(gallery, kernel) for name, gallery in galleries.items()}
        self._order = {name: gallery.syndromes for name, gallery in galleries.items()}
        self._stack = GalleryStack(held)
        rows, silos = self._stack.rows, [set(silo.syndromes) for silo in self._stack.silos.values()]
        self._totals = patients_per_syndrome(self._stack.silos.values())
        self._patients = np.array([self._totals[row] for row in rows])
        self._silos = np.array([sum(row in silo for silo in silos) for row in rows])

    def others(self, silo: str) -> tuple[str, ...]:
        """The panel of a querier."""
        return tuple(sorted(self._stack.silos.keys() - {silo}, key=str.encode))

    def in_clear(self, queries: Floats) -> Floats:
        """(n, R) what the formula gives, all silos together."""
        silos, rows = list(self._stack.silos.values()), self._stack.rows
        if self._coefficients is None:
            return formula.linear(queries, silos, syndromes=rows)
        return formula.quadratic(queries, silos, syndromes=rows, coefficients=self._coefficients)

    def ask(
        self, silo: str, queries: Floats, *, noise: Noise, advance: Callable[[int], None] | None = None
    ) -> tuple[Floats, Cost]:
        """(n, R) scores of queries of ``silo``: the other silos' encrypted sum, and its own part in clear.

        Raises:
            EncryptionError: an answer was refused.
        """
        others = {name: self._stack.silos[name] for name in self.others(silo)}
        with EncryptedRanker(
            others,
            syndromes=self._stack.rows,
            noise=noise,
            profile="simulation",
            kernel=self._kernel,
            coefficients=self._coefficients,
        ) as ranker:
            answer, cost = ranker.rank(queries, progress=advance)
        asked = patients_per_syndrome(others.values())
        share = np.array([asked.get(row, 0) for row in self._stack.rows]) / self._patients
        scores = np.nan_to_num(answer.astype(np.float64)) * share
        scores += _missing(noise, share, len(others), generator(0, "noise", silo), len(queries))
        if silo in self._stack.silos:
            scores += self._own(self._stack.silos[silo], queries.astype(np.float64))
        return scores.astype(np.float32), cost

    def syndromes(self, gallery: str) -> tuple[str, ...]:
        """(S,) of one gallery."""
        return self._order[gallery]

    def scores(self, gallery: str, rows: Floats) -> Floats:
        """What concerns one gallery out of the scores of all rows: (n, R) to (n, S)."""
        names, found = self._stack.scores(gallery, rows)
        place = {name: column for column, name in enumerate(names)}
        ordered: Floats = found[:, [place[name] for name in self.syndromes(gallery)]]
        return ordered

    def totals_of(self, gallery: str) -> Totals:
        """(S,) each: how many patients and silos stand behind one gallery's syndromes."""
        row = self.scores(gallery, np.arange(len(self._stack.rows), dtype=np.float32)[None])[0].astype(np.int64)
        none = np.zeros(len(row), dtype=np.int64)
        return Totals(self._patients[row], self._silos[row], none, none)

    def _own(self, silo: Prototypes, queries: NDArray[np.float64]) -> NDArray[np.float64]:
        rows, totals = self._stack.rows, self._totals
        if self._coefficients is None:
            return queries @ weighted_rows(silo, syndromes=rows, totals=totals).T
        a0, a1, a2 = self._coefficients
        patients, places, weights = single_rows(silo, syndromes=rows, totals=totals)
        cosines = queries @ patients.T.astype(np.float64)
        part = np.zeros((len(rows), len(queries)))
        np.add.at(part, places, ((a0 + a1 * cosines + a2 * cosines**2) * weights).T)
        return part.T


def _rows(gallery: Gallery, kernel: Kernel) -> dict[str, Prototypes]:
    """By silo: a prototype a syndrome for the linear kernel, a row a patient for the quadratic one."""
    if kernel == "linear":
        return gallery.prototypes()
    found = {}
    for index, silo in enumerate(gallery.silos):
        mine = gallery.patient_silos == index
        names = tuple(gallery.syndromes[label] for label in gallery.patient_labels[mine])
        found[silo] = Prototypes(names, gallery.patients[mine], np.ones(len(names), dtype=np.int64))
    return found


def _missing(
    noise: Noise, share: NDArray[np.float64], silos: int, draws: np.random.Generator, queries: int
) -> NDArray[np.float64]:
    """Noise (n, R) that bringing the panel's score to the consortium's weights took away.

    Deployed silos weigh by the consortium's totals, and each of them adds the whole noise to a score.
    """
    deviation = noise.deviation * math.sqrt(silos) * np.sqrt(1 - share**2)
    return draws.normal(size=(queries, len(share))) * deviation
