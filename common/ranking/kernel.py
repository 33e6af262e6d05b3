"""The scores that can be computed under encryption, each stated once, in clear.

For a query q (d, unit norm) and a syndrome s, over the silos k of a panel:

    linear      sum_k sum_i (n_i / N_s) <q, c_i>
    quadratic   sum_k sum_i (n_i / N_s) (a0 + a1 <q, c_i> + a2 <q, c_i>^2)

where i runs over the rows of silo k that carry s. Usually that is one row, the unit mean c_ks of the silo's
patient unit means with n_ks patients; a row may as well be a single patient with n_i = 1. N_s is the sum of n_i
over all rows of s in all silos. The sums need no knowledge of another silo's rows, only of N_s, and that is why
the silos of a panel can each compute their part under encryption.

With a = ``rbf_coefficients(g)`` the quadratic score approximates the Gaussian kernel exp(-g |q - c|^2).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from common.errors import CohortError

Array = npt.NDArray[np.float32]

UNIT_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Prototypes:
    """What one silo compares a query with.

    Attributes:
        syndromes: (S,) the syndrome key of each row.
        matrix: (S, d) float32, rows of unit norm.
        counts: (S,) int64, patients behind each row, at least 1.

    Raises:
        CohortError: shapes that do not fit, a row that is not of unit norm, or a count below 1.
    """

    syndromes: tuple[str, ...]
    matrix: Array
    counts: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        object.__setattr__(self, "syndromes", tuple(self.syndromes))
        object.__setattr__(self, "matrix", np.asarray(self.matrix, dtype=np.float32))
        object.__setattr__(self, "counts", np.asarray(self.counts, dtype=np.int64))
        rows = len(self.syndromes)
        if self.matrix.ndim != 2 or self.matrix.shape[0] != rows or self.counts.shape != (rows,):
            raise CohortError(
                f"prototypes of {rows} syndromes with a matrix {self.matrix.shape} and counts {self.counts.shape}",
                remedy="give one row and one count a syndrome",
            )
        norms = np.linalg.norm(self.matrix, axis=1)
        if not np.all(np.abs(norms - 1) <= UNIT_TOLERANCE):
            worst = self.syndromes[int(np.argmax(np.nan_to_num(np.abs(norms - 1), nan=np.inf)))]
            raise CohortError(f"the prototype of {worst} is not of unit norm", remedy="normalise each row")
        if np.any(self.counts < 1):
            raise CohortError("a prototype stands for no patient", remedy="leave its row out")

    @property
    def dimension(self) -> int:
        """d, the length of an embedding."""
        return int(self.matrix.shape[1])


def patients_per_syndrome(panel: Iterable[Prototypes]) -> dict[str, int]:
    """N_s: the patients of each syndrome over all silos of the panel."""
    totals: dict[str, int] = {}
    for silo in panel:
        for syndrome, count in zip(silo.syndromes, silo.counts.tolist(), strict=True):
            totals[syndrome] = totals.get(syndrome, 0) + count
    return totals


def weighted_rows(
    silo: Prototypes, *, syndromes: Sequence[str], totals: dict[str, int]
) -> npt.NDArray[np.float64]:
    """(S, d) float64: row s is sum_i (n_i / N_s) c_i over the silo's rows of s, zero where the silo has none.

    The linear score of the panel is the sum over silos of ``weighted_rows @ q``. Rows of syndromes that are not
    listed are left out.
    """
    place = {syndrome: index for index, syndrome in enumerate(syndromes)}
    rows = np.zeros((len(syndromes), silo.dimension))
    for syndrome, row, count in zip(silo.syndromes, silo.matrix, silo.counts.tolist(), strict=True):
        if syndrome in place:
            rows[place[syndrome]] += row.astype(np.float64) * (count / totals[syndrome])
    return rows


def single_rows(
    silo: Prototypes, *, syndromes: Sequence[str], totals: dict[str, int]
) -> tuple[Array, npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """What a silo contributes to the quadratic score: rows (m, d), their places (m,) in ``syndromes``, and weights
    n_i / N_s (m,). Rows of syndromes that are not listed are left out."""
    place = {syndrome: index for index, syndrome in enumerate(syndromes)}
    kept = np.array([syndrome in place for syndrome in silo.syndromes], dtype=bool)
    names = [syndrome for syndrome in silo.syndromes if syndrome in place]
    patients = np.array([totals[name] for name in names], dtype=np.float64)
    return silo.matrix[kept], np.array([place[name] for name in names], np.int64), silo.counts[kept] / patients


def linear(queries: Array, panel: Sequence[Prototypes], *, syndromes: Sequence[str]) -> Array:
    """The linear score: (n, S) float32, NaN in the column of a syndrome that no silo holds.

    Args:
        queries: (n, d), unit rows.
    """
    totals = patients_per_syndrome(panel)
    scores = np.zeros((len(queries), len(syndromes)))
    for silo in panel:
        scores += queries.astype(np.float64) @ weighted_rows(silo, syndromes=syndromes, totals=totals).T
    return _absent_as_nan(scores, syndromes, totals)


def quadratic(
    queries: Array,
    panel: Sequence[Prototypes],
    *,
    syndromes: Sequence[str],
    coefficients: tuple[float, float, float],
) -> Array:
    """The quadratic score: (n, S) float32, NaN in the column of a syndrome that no silo holds.

    Args:
        queries: (n, d), unit rows.
        coefficients: (a0, a1, a2) of the polynomial in the cosine.
    """
    a0, a1, a2 = coefficients
    totals = patients_per_syndrome(panel)
    place = {syndrome: index for index, syndrome in enumerate(syndromes)}
    scores = np.zeros((len(queries), len(syndromes)))
    for silo in panel:
        cosines = queries.astype(np.float64) @ silo.matrix.T.astype(np.float64)
        values = a0 + a1 * cosines + a2 * cosines**2
        for row, (syndrome, count) in enumerate(zip(silo.syndromes, silo.counts.tolist(), strict=True)):
            if syndrome in place:
                scores[:, place[syndrome]] += values[:, row] * (count / totals[syndrome])
    return _absent_as_nan(scores, syndromes, totals)


def rbf_coefficients(width: float, *, low: float = -0.3, high: float = 1.0) -> tuple[float, float, float]:
    """(a0, a1, a2): Chebyshev interpolation of exp(-2 g (1 - x)), g = ``width``, for cosines x in [low, high]."""
    polynomial = np.polynomial.Chebyshev.interpolate(
        lambda x: np.exp(-2 * width * (1 - x)), 2, domain=[low, high]
    ).convert(kind=np.polynomial.Polynomial)
    a0, a1, a2 = (float(value) for value in polynomial.coef)
    return a0, a1, a2


def _absent_as_nan(scores: npt.NDArray[np.float64], syndromes: Sequence[str], totals: dict[str, int]) -> Array:
    scores[:, [syndrome not in totals for syndrome in syndromes]] = np.nan
    return scores.astype(np.float32)
