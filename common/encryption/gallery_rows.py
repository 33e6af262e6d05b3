"""What one silo serves in one gallery epoch, in clear, before it is prepared for a layout."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from common.errors import EncryptionError

Coefficients = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class GalleryRows:
    """The rows that a silo compares queries with.

    Attributes:
        matrix: (n, d) float64. Linear: one row a syndrome, n = S, weights included, as ``kernel.weighted_rows``
            gives them. Quadratic: unit rows, in any number and order.
        syndromes: quadratic only, (n,) int64, the syndrome of each row, 0 to S - 1.
        weights: quadratic only, (n,) float64, n_i / N_s of each row.
        coefficients: quadratic only, (a0, a1, a2) of ``kernel.quadratic``.

    Raises:
        EncryptionError: shapes that do not fit, or numbers that are not finite.
    """

    matrix: npt.NDArray[np.float64]
    syndromes: npt.NDArray[np.int64] | None = None
    weights: npt.NDArray[np.float64] | None = None
    coefficients: Coefficients | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "matrix", np.asarray(self.matrix, dtype=np.float64))
        given = [item is not None for item in (self.syndromes, self.weights, self.coefficients)]
        proper = self.matrix.ndim == 2 and bool(np.all(np.isfinite(self.matrix))) and len(set(given)) == 1
        if proper and self.syndromes is not None and self.weights is not None and self.coefficients is not None:
            object.__setattr__(self, "syndromes", np.asarray(self.syndromes, dtype=np.int64))
            object.__setattr__(self, "weights", np.asarray(self.weights, dtype=np.float64))
            count = (len(self.matrix),)
            proper = self.syndromes.shape == count and self.weights.shape == count and len(self.coefficients) == 3
            proper = proper and bool(np.all(np.isfinite([*self.weights, *self.coefficients])))
            proper = proper and not np.any(self.syndromes < 0)
        if not proper:
            raise EncryptionError(
                f"gallery rows of shape {self.matrix.shape} that fit neither kernel",
                remedy="give finite rows, and for the quadratic kernel syndromes, weights and coefficients",
            )

    def without(self, closed: Collection[int]) -> Self:
        """The same with the rows of these syndromes set to zero."""
        wanted = list(closed)
        if self.weights is None or self.syndromes is None:
            matrix = self.matrix.copy()
            matrix[wanted] = 0
            return replace(self, matrix=matrix)
        gone = np.isin(self.syndromes, wanted)
        return replace(
            self, matrix=np.where(gone[:, None], 0.0, self.matrix), weights=np.where(gone, 0, self.weights)
        )

    def to_parts(self) -> tuple[dict[str, Any], list[bytes]]:
        """Plain values and bytes for ``from_parts``, to be sent to a worker."""
        head = {"shape": list(self.matrix.shape), "coefficients": self.coefficients}
        parts = [np.ascontiguousarray(self.matrix, "<f8").tobytes()]
        if self.syndromes is not None and self.weights is not None:
            parts += [self.syndromes.astype("<i8").tobytes(), self.weights.astype("<f8").tobytes()]
        return head, parts

    @classmethod
    def from_parts(cls, head: dict[str, Any], parts: list[bytes]) -> Self:
        """The rows that ``to_parts`` described."""
        matrix = np.frombuffer(parts[0], "<f8").reshape(head["shape"])
        if head["coefficients"] is None:
            return cls(matrix)
        a0, a1, a2 = head["coefficients"]
        return cls(matrix, np.frombuffer(parts[1], "<i8"), np.frombuffer(parts[2], "<f8"), (a0, a1, a2))
