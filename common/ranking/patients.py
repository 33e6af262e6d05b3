"""From photos to patients: views, photos and an ensemble's models become one unit vector per patient.

Averaging happens before any comparison (and before any encryption), so that a patient is one query whatever the
number of photos.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Encodings:
    """What the networks say of each photo.

    ``vectors``: (photos, models, views, d) float32, each unit norm; models of an ensemble share d.
    ``photo_ids``: the row names. ``models``: names such as ('m0', 'm1'). ``views``: (flip, grey) of each view.
    ``shares``: what each model counts in a cosine, summing to 1; equal where left out.
    """

    photo_ids: tuple[str, ...]
    vectors: Floats
    models: tuple[str, ...]
    views: tuple[tuple[int, int], ...]
    shares: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.shares:
            object.__setattr__(self, "shares", (1 / len(self.models),) * len(self.models))
        if len(self.shares) != len(self.models) or abs(sum(self.shares) - 1) > 1e-9 or min(self.shares) < 0:
            raise ValueError(f"shares {self.shares} do not divide one cosine between {len(self.models)} models")
        expected = (len(self.photo_ids), len(self.models), len(self.views))
        if self.vectors.shape[:3] != expected or self.vectors.ndim != 4:
            raise ValueError(f"vectors are {self.vectors.shape}, expected {expected} and a length")

    def with_models_of(self, other: Encodings, *, share: float = 0.5) -> Encodings:
        """The ensemble of both: same photos and views, models one after the other, ``share`` of it ``other``'s."""
        if (self.photo_ids, self.views) != (other.photo_ids, other.views):
            raise ValueError("an ensemble needs the same photos and views in the same order")
        names = tuple(f"m{index}" for index in range(len(self.models) + len(other.models)))
        shares = (*((1 - share) * own for own in self.shares), *(share * own for own in other.shares))
        vectors = np.concatenate([self.vectors, other.vectors], axis=1)
        return Encodings(self.photo_ids, vectors, names, self.views, shares)


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
    """One unit vector per photo: views averaged, each model's block unit and scaled by the root of its share."""
    blocks = unit(encodings.vectors.mean(axis=2, dtype=np.float64))
    return Embeddings(encodings.photo_ids, _concatenate(blocks, encodings.shares))


def patient_embeddings(encodings: Encodings, patient_of: Mapping[str, str]) -> Embeddings:
    """One unit vector per patient: views and photos averaged, each model's block unit, scaled by its share's root.

    Patients come in order of their first photo; the photos are those of ``encodings``, so restrict them first.
    """
    blocks = unit(encodings.vectors.mean(axis=2, dtype=np.float64))
    owners = [patient_of[photo] for photo in encodings.photo_ids]
    patients = tuple(dict.fromkeys(owners))
    index = {patient: row for row, patient in enumerate(patients)}
    sums = np.zeros((len(patients), *blocks.shape[1:]))
    np.add.at(sums, [index[owner] for owner in owners], blocks)
    return Embeddings(patients, _concatenate(unit(sums), encodings.shares))


def restrict(encodings: Encodings, photo_ids: Sequence[str]) -> Encodings:
    """The named photos, in the order asked for."""
    index = {name: row for row, name in enumerate(encodings.photo_ids)}
    rows = [index[name] for name in photo_ids]
    return replace(encodings, photo_ids=tuple(photo_ids), vectors=encodings.vectors[rows])


def unit(vectors: NDArray[np.floating]) -> NDArray[np.floating]:
    """Rows (last axis) divided by their length; a zero row stays zero."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)


def _concatenate(blocks: NDArray[np.floating], shares: Sequence[float]) -> Floats:
    """(n, models, d) unit blocks to (n, models * d) unit rows; a cosine is then the shares' mean of cosines."""
    scaled = blocks * np.sqrt(np.array(shares))[:, None]
    return scaled.reshape(len(blocks), -1).astype(np.float32)
