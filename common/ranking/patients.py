"""From photos to patients: views, photos and an ensemble's models become one unit vector per patient.

Averaging happens before any comparison (and before any encryption), so that a patient is one query whatever the
number of photos.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Encodings:
    """What the networks say of each photo.

    ``vectors``: (photos, models, views, d) float32, each unit norm; models of an ensemble share d.
    ``photo_ids``: the row names. ``models``: names such as ('m0', 'm1'). ``views``: (flip, grey) of each view.
    """

    photo_ids: tuple[str, ...]
    vectors: Floats
    models: tuple[str, ...]
    views: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        expected = (len(self.photo_ids), len(self.models), len(self.views))
        if self.vectors.shape[:3] != expected or self.vectors.ndim != 4:
            raise ValueError(f"vectors are {self.vectors.shape}, expected {expected} and a length")

    def with_models_of(self, other: Encodings) -> Encodings:
        """The ensemble of both: same photos and views, models one after the other."""
        if (self.photo_ids, self.views) != (other.photo_ids, other.views):
            raise ValueError("an ensemble needs the same photos and views in the same order")
        names = tuple(f"m{index}" for index in range(len(self.models) + len(other.models)))
        return Encodings(self.photo_ids, np.concatenate([self.vectors, other.vectors], axis=1), names, self.views)


@dataclass(frozen=True)
class Embeddings:
    """Named unit vectors: ``matrix`` (n, D) float32, D = models x d <= 2048."""

    ids: tuple[str, ...]
    matrix: Floats

    def rows(self, ids: Sequence[str]) -> Floats:
        """The named rows, in the order asked for; KeyError names a missing one."""
        index = {name: row for row, name in enumerate(self.ids)}
        return self.matrix[[index[name] for name in ids]]


def photo_embeddings(encodings: Encodings) -> Embeddings:
    """One unit vector per photo: views averaged, each model's block unit and scaled 1/sqrt(models)."""
    blocks = unit(encodings.vectors.mean(axis=2, dtype=np.float64))
    return Embeddings(encodings.photo_ids, _concatenate(blocks))


def patient_embeddings(encodings: Encodings, patient_of: Mapping[str, str]) -> Embeddings:
    """One unit vector per patient: views and photos averaged, each model's block unit and scaled 1/sqrt(models).

    Patients come in order of their first photo; the photos are those of ``encodings``, so restrict them first.
    """
    blocks = unit(encodings.vectors.mean(axis=2, dtype=np.float64))
    owners = [patient_of[photo] for photo in encodings.photo_ids]
    patients = tuple(dict.fromkeys(owners))
    index = {patient: row for row, patient in enumerate(patients)}
    sums = np.zeros((len(patients), *blocks.shape[1:]))
    np.add.at(sums, [index[owner] for owner in owners], blocks)
    return Embeddings(patients, _concatenate(unit(sums)))


def restrict(encodings: Encodings, photo_ids: Sequence[str]) -> Encodings:
    """The named photos, in the order asked for."""
    index = {name: row for row, name in enumerate(encodings.photo_ids)}
    rows = [index[name] for name in photo_ids]
    return Encodings(tuple(photo_ids), encodings.vectors[rows], encodings.models, encodings.views)


def unit(vectors: NDArray[np.floating]) -> NDArray[np.floating]:
    """Rows (last axis) divided by their length; a zero row stays zero."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)


def _concatenate(blocks: NDArray[np.floating]) -> Floats:
    """(n, models, d) unit blocks to (n, models * d) unit rows."""
    count, models, length = blocks.shape
    return (blocks.reshape(count, models * length) / np.sqrt(models)).astype(np.float32)
