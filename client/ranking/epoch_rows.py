"""What a silo's gallery of one epoch is scored by: under encryption for others, in clear for the silo itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from client.gallery.gallery import Gallery
from client.ranking.open_epoch import OpenEpoch
from common.encryption.gallery_rows import GalleryRows
from common.ranking.kernel import rbf_coefficients

QUADRATIC_WIDTH = 1.0
"""g of the Gaussian kernel exp(-g |q - c|^2) that the quadratic score stands for."""


def served_rows(gallery: Gallery, opened: OpenEpoch) -> GalleryRows:
    """What sessions prepare: weighted prototypes, or single patients for the quadratic kernel."""
    if opened.epoch.kernel == "linear":
        return GalleryRows(gallery.prototype_rows(opened.totals, opened.profile))
    patients = gallery.patient_rows(opened.totals, opened.profile)
    return GalleryRows(patients.matrix, patients.places, patients.weights, rbf_coefficients(QUADRATIC_WIDTH))


def clear_scores(
    gallery: Gallery | None, opened: OpenEpoch, embeddings: NDArray[np.floating]
) -> NDArray[np.float64]:
    """(n, S) the part of this silo's own patients, None for none; NaN in the rows that nobody may answer."""
    queries = np.asarray(embeddings, dtype=np.float64)
    scores = np.zeros((len(queries), opened.epoch.rows))
    if gallery is not None and opened.epoch.kernel == "linear":
        scores += queries @ gallery.prototype_rows(opened.totals, opened.profile).T
    elif gallery is not None:
        patients = gallery.patient_rows(opened.totals, opened.profile)
        a0, a1, a2 = rbf_coefficients(QUADRATIC_WIDTH)
        cosines = queries @ patients.matrix.T
        np.add.at(scores.T, patients.places, ((a0 + a1 * cosines + a2 * cosines**2) * patients.weights).T)
    scores[:, ~opened.answerable] = np.nan
    scores[:, sorted(gallery.closed) if gallery is not None else []] = np.nan
    return scores
