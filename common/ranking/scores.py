"""Scorers: how a probe's similarity to a syndrome is computed from a gallery, in clear.

``encryptable`` is the score that encryption computes between hospitals; the others need the gallery in one place
and are baselines. Each takes probes (p, D) and a ``Gallery`` and gives (p, S) float32, higher is more alike, one
column a syndrome of ``gallery.syndromes``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.ranking.kernel import Prototypes, linear
from common.ranking.patients import Embeddings, Floats, unit


@dataclass(frozen=True)
class Gallery:
    """Solved patients that probes are compared with.

    ``photos``: (n, D) unit rows; ``patients``: (m, D) unit rows. ``photo_labels`` and ``patient_labels``
    index ``syndromes``; ``patient_silos`` indexes ``silos``.
    """

    syndromes: tuple[str, ...]
    silos: tuple[str, ...]
    photos: Floats
    photo_labels: NDArray[np.int64]
    patients: Floats
    patient_labels: NDArray[np.int64]
    patient_silos: NDArray[np.int64]

    def prototypes(self) -> dict[str, Prototypes]:
        """For each silo its syndromes, unit means of patients' unit means, and patient counts."""
        result = {}
        for index, silo in enumerate(self.silos):
            mine = self.patient_silos == index
            labels = np.unique(self.patient_labels[mine])
            rows = [self.patients[mine & (self.patient_labels == label)] for label in labels]
            result[silo] = Prototypes(
                syndromes=tuple(self.syndromes[label] for label in labels),
                matrix=unit_means(rows, self.patients.shape[1]),
                counts=np.array([len(row) for row in rows], dtype=np.int64),
            )
        return result


def unit_means(groups: Sequence[NDArray[np.floating]], length: int) -> Floats:
    """The unit mean of each group of rows: (groups, length) float32."""
    means = np.zeros((len(groups), length), dtype=np.float64)
    for index, rows in enumerate(groups):
        means[index] = rows.mean(axis=0, dtype=np.float64)
    return unit(means).astype(np.float32)


def nearest(probes: Floats, gallery: Gallery) -> Floats:
    """Cosine to the nearest gallery photo of each syndrome (GestaltMatcher, Hsieh et al. 2022)."""
    similarity = probes @ gallery.photos.T
    return _best(similarity, gallery.photo_labels, len(gallery.syndromes))


def centroid(probes: Floats, gallery: Gallery) -> Floats:
    """Cosine to the unit mean of each syndrome's patient unit means, all hospitals together."""
    return probes @ _centroids(gallery).T


def hybrid(probes: Floats, gallery: Gallery) -> Floats:
    """Half nearest patient, half centroid."""
    similarity = _best(probes @ gallery.patients.T, gallery.patient_labels, len(gallery.syndromes))
    return (0.5 * similarity + 0.5 * centroid(probes, gallery)).astype(np.float32)


def encryptable(probes: Floats, gallery: Gallery) -> Floats:
    """sum over silos k of (n_ks / N_s) <q, c_ks>: the design's score (see common.ranking.kernel)."""
    return linear(probes, list(gallery.prototypes().values()), syndromes=gallery.syndromes)


Scorer = Callable[[Floats, Gallery], Floats]
SCORERS: Mapping[str, Scorer] = {
    "nearest": nearest,
    "centroid": centroid,
    "hybrid": hybrid,
    "encryptable": encryptable,
}


def gallery(
    photos: Embeddings,
    patients: Embeddings,
    *,
    label_of_photo: Mapping[str, str],
    label_of_patient: Mapping[str, str],
    silo_of_patient: Mapping[str, str],
) -> Gallery:
    """A gallery of the named photos and patients; syndromes and silos in sorted order."""
    syndromes = tuple(sorted({label_of_patient[patient] for patient in patients.ids}))
    silos = tuple(sorted({silo_of_patient[patient] for patient in patients.ids}, key=str.encode))
    label = {key: index for index, key in enumerate(syndromes)}
    place = {name: index for index, name in enumerate(silos)}
    return Gallery(
        syndromes,
        silos,
        photos.matrix,
        np.array([label[label_of_photo[photo]] for photo in photos.ids], dtype=np.int64),
        patients.matrix,
        np.array([label[label_of_patient[patient]] for patient in patients.ids], dtype=np.int64),
        np.array([place[silo_of_patient[patient]] for patient in patients.ids], dtype=np.int64),
    )


def _best(similarity: Floats, labels: NDArray[np.int64], syndromes: int) -> Floats:
    """(p, n) similarities to (p, S): the largest of each label's columns."""
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], np.arange(syndromes))
    return np.maximum.reduceat(similarity[:, order], starts, axis=1)


def _centroids(gallery: Gallery) -> Floats:
    rows = [gallery.patients[gallery.patient_labels == index] for index in range(len(gallery.syndromes))]
    return unit_means(rows, gallery.patients.shape[1])
