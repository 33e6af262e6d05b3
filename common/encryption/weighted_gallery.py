"""From a silo's prototypes to the rows that it serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from common.encryption.gallery_rows import Coefficients, GalleryRows
from common.ranking.kernel import Prototypes, single_rows, weighted_rows


def weighted_gallery(
    silo: Prototypes,
    *,
    syndromes: Sequence[str],
    totals: Mapping[str, int],
    coefficients: Coefficients | None = None,
) -> GalleryRows:
    """The rows of the listed syndromes with their weights n_i / N_s; others are left out.

    Args:
        totals: N_s, the patients of each syndrome in all silos.
        coefficients: (a0, a1, a2) for the quadratic kernel, None for the linear one.
    """
    if coefficients is None:
        return GalleryRows(weighted_rows(silo, syndromes=syndromes, totals=dict(totals)))
    matrix, places, weights = single_rows(silo, syndromes=syndromes, totals=dict(totals))
    return GalleryRows(matrix.astype(np.float64), places, weights, coefficients)
