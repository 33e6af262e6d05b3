"""What a silo is compared by: the rows of its gallery in one epoch, and the counts that go with them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.consortium.counts import OwnCounts, Totals
from common.errors import DisclosureError
from common.privacy.disclosure import Profile, answerable
from common.ranking.patients import Floats, unit


@dataclass(frozen=True)
class PatientRows:
    """Single patients for the quadratic kernel.

    ``places``: (m,) int64, the gallery row of each. ``matrix``: (m, d) float64, unit rows.
    ``weights``: (m,), 1 / N_s.
    """

    places: NDArray[np.int64]
    matrix: NDArray[np.float64]
    weights: NDArray[np.float64]


@dataclass(frozen=True)
class Gallery:
    """The patients that one silo serves in one epoch.

    Attributes:
        number: of the epoch.
        release: of the model that made the embeddings.
        rows: S, padding included.
        places: (m,) int64, the row that each patient belongs to.
        tokens: (m,) what stands for each patient's id; see GalleryKeeper.
        matrix: (m, d) float32, unit rows.
        alone: (m,) bool, who agreed to be a row of its own.
        vetoed: rows that this silo asks nobody to answer in this epoch.
        closed: rows closed since the epoch opened.
    """

    number: int
    release: str
    rows: int
    places: NDArray[np.int64]
    tokens: tuple[str, ...]
    matrix: Floats
    alone: NDArray[np.bool_]
    vetoed: frozenset[int]
    closed: frozenset[int] = frozenset()

    @property
    def counts(self) -> OwnCounts:
        """(S,) each, for common.consortium.counts."""
        patients = self._per_row(np.ones(len(self.places), dtype=np.int64))
        vetoes = np.zeros(self.rows, dtype=np.int64)
        vetoes[sorted(self.vetoed | self.closed)] = 1
        return OwnCounts(
            patients, (patients > 0).astype(np.int64), vetoes, self._per_row(self.alone.astype(np.int64))
        )

    def prototype_rows(self, totals: Totals, profile: Profile) -> NDArray[np.float64]:
        """(S, d) for the linear kernel: (n_ks / N_s) c_ks, with c_ks the unit mean of the row's patients.

        Zero where the profile does not answer, where the silo has no patient, and in closed rows.

        Raises:
            DisclosureError: the totals are not those of this gallery.
        """
        patients, served = self._served(totals, profile)
        sums = np.zeros((self.rows, self.matrix.shape[1]))
        np.add.at(sums, self.places, self.matrix.astype(np.float64))
        weights = np.where(served, patients / np.maximum(totals.patients, 1), 0.0)
        return unit(sums).astype(np.float64) * weights[:, None]

    def patient_rows(self, totals: Totals, profile: Profile) -> PatientRows:
        """Each patient of the rows that are answered, for the quadratic kernel.

        Raises:
            DisclosureError: the totals are not those of this gallery.
        """
        _, served = self._served(totals, profile)
        kept = served[self.places]
        places = self.places[kept]
        return PatientRows(places, self.matrix[kept].astype(np.float64), 1.0 / totals.patients[places])

    def without(self, tokens: frozenset[str]) -> tuple[Gallery, frozenset[int]]:
        """The gallery with every row closed that one of these patients is part of, and the rows closed by that."""
        touched = frozenset(
            int(place) for place, token in zip(self.places, self.tokens, strict=True) if token in tokens
        )
        if not touched:
            return self, touched
        kept = ~np.isin(self.places, sorted(touched))
        return (
            Gallery(
                self.number,
                self.release,
                self.rows,
                self.places[kept],
                tuple(token for token, stays in zip(self.tokens, kept, strict=True) if stays),
                self.matrix[kept],
                self.alone[kept],
                self.vetoed,
                self.closed | touched,
            ),
            touched,
        )

    def _served(self, totals: Totals, profile: Profile) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        patients = self._per_row(np.ones(len(self.places), dtype=np.int64))
        if totals.patients.shape != (self.rows,) or np.any(patients > totals.patients):
            raise DisclosureError(
                f"the totals are not those of gallery epoch {self.number}", remedy="open the epoch anew"
            )
        open_rows = answerable(profile, totals) & (patients > 0)
        open_rows[sorted(self.vetoed | self.closed)] = False
        return patients, open_rows

    def _per_row(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        sums = np.zeros(self.rows, dtype=np.int64)
        np.add.at(sums, self.places, values)
        return sums
