"""Photos to patient embeddings, inside the hospital: detect, align, judge, encode by the release, average.

Nothing here writes a photo or a crop. Embeddings of the hospital's own gallery are kept, privately, until the
release changes: encoding them is what takes long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from client.gallery.cache import GalleryCache
from common.cohort.schema import Cohort
from common.cohort.store import StoredCohort
from common.errors import PhotoError
from common.faces.decode import Pixels
from common.faces.detect import Detector
from common.faces.photos import crop_content
from common.ranking.patients import Embeddings, Encodings, Floats, patient_embeddings, restrict
from common.releases.encoder import ReleasedEncoder
from common.releases.release import Release


@dataclass(frozen=True)
class Portrait:
    """What one patient's photos say: (D,) float32 unit embedding, crops, and remarks on each photo's quality."""

    embedding: Floats
    crops: Pixels
    remarks: tuple[tuple[str, ...], ...]


class PhotoEncoder:
    """The release at work.

    Args:
        encoder: made of a release, whose digest says which embeddings can be compared.
        detector: finds the face; None takes aligned crops alone.
        cache: file that keeps the gallery's encodings, if any.
    """

    def __init__(self, encoder: ReleasedEncoder, detector: Detector | None, cache: Path | None = None) -> None:
        self._encoder, self._detector = encoder, detector
        self._cache = None if cache is None else GalleryCache(cache)

    @property
    def release(self) -> Release:
        """What the embeddings depend on."""
        return self._encoder.release

    @property
    def dimension(self) -> int:
        """Length of an embedding."""
        return self._encoder.dimension

    def portrait(
        self, photos: Sequence[bytes], *, names: Sequence[str] | None = None, aligned: bool = False
    ) -> Portrait:
        """One patient's embedding from the contents of photo files.

        Args:
            names: what an error calls each photo; by default its number.

        Raises:
            PhotoError: a photo cannot be used.
        """
        if not photos:
            raise PhotoError("there is no photo", remedy="give at least one")
        crops, remarks = [], []
        called = names or [f"photo {number}" for number in range(1, len(photos) + 1)]
        for name, content in zip(called, photos, strict=True):
            if not aligned and self._detector is None:
                raise PhotoError(
                    f"nothing says where the face is in {name}",
                    remedy="name a detector and its SHA-256, or give aligned 112x112 crops with --aligned",
                )
            crop, verdict = crop_content(content, name=name, aligned=aligned, detector=self._detector)
            if not verdict.usable:
                raise PhotoError(
                    f"{name} cannot be used ({'; '.join(verdict.reasons)})", remedy="take another photo"
                )
            crops.append(crop)
            remarks.append(verdict.warnings)
        stacked = np.stack(crops)
        ids = [f"photo-{number}" for number in range(1, len(crops) + 1)]
        probe = self._encoder.encode(ids, stacked)
        embedding = patient_embeddings(probe, dict.fromkeys(ids, "patient")).matrix[0]
        return Portrait(embedding, stacked, tuple(remarks))

    def gallery(self, stored: StoredCohort, patients: Cohort) -> Embeddings:
        """(n, D) unit embeddings of ``patients``, a part of the stored cohort; only new photos are encoded."""
        photos = {photo.id: photo.sha256 for _, photo in patients.photos()}
        release = self.release.digest
        known = self._cache.read(release, photos) if self._cache else None
        fresh = [photo for photo in photos if known is None or photo not in known.photo_ids]
        if fresh:
            encoded = self._encoder.encode(fresh, np.stack([stored.crop(photo) for photo in fresh]))
            known = encoded if known is None else _joined(known, encoded)
            if self._cache:
                self._cache.write(known, release, photos)
        owner = {photo.id: patient.id for patient, photo in patients.photos()}
        if known is None:
            return Embeddings((), np.zeros((0, 0), np.float32))
        return patient_embeddings(restrict(known, list(photos)), owner)


def _joined(first: Encodings, second: Encodings) -> Encodings:
    vectors = np.concatenate([first.vectors, second.vectors])
    return Encodings((*first.photo_ids, *second.photo_ids), vectors, first.models, first.views, first.shares)
