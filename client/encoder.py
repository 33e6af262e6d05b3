"""Photos to patient embeddings, inside the hospital: detect, align, judge, encode by the release, average.

Nothing here writes a photo or a crop. Embeddings of the hospital's own gallery are kept, privately, until the
release changes: encoding them is what takes long.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from common.cohort.schema import Cohort
from common.cohort.store import StoredCohort
from common.errors import PhotoError
from common.faces.decode import Pixels
from common.faces.detect import Detector
from common.faces.photos import crop_content
from common.ranking.patients import Embeddings, Encodings, Floats, patient_embeddings, restrict
from common.releases.encoder import ReleasedEncoder
from common.releases.release import Release
from common.storage import write_bytes


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
        self._encoder, self._detector, self._cache = encoder, detector, cache

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
        known = self._kept(photos)
        fresh = [photo for photo in photos if known is None or photo not in known.photo_ids]
        if fresh:
            encoded = self._encoder.encode(fresh, np.stack([stored.crop(photo) for photo in fresh]))
            known = encoded if known is None else _joined(known, encoded)
            self._keep(known, photos)
        owner = {photo.id: patient.id for patient, photo in patients.photos()}
        if known is None:
            return Embeddings((), np.zeros((0, 0), np.float32))
        return patient_embeddings(restrict(known, list(photos)), owner)

    def _kept(self, photos: dict[str, str]) -> Encodings | None:
        """Encodings of former times, of this release and of photos that are the same still."""
        if self._cache is None:
            return None
        try:
            content = self._cache.read_bytes()
            about = json.loads(
                json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]["about"]
            )
            if about["release"] != self.release.digest:
                return None
            encodings = Encodings(
                tuple(about["photos"]),
                load(content)["vectors"],
                tuple(about["models"]),
                tuple((flip, grey) for flip, grey in about["views"]),
                tuple(about["shares"]),
            )
        except (OSError, SafetensorError, KeyError, ValueError, TypeError):
            return None
        same = [photo for photo, sha in about["photos"].items() if photos.get(photo) == sha]
        return restrict(encodings, same) if same else None

    def _keep(self, encodings: Encodings, photos: dict[str, str]) -> None:
        if self._cache is None:
            return
        about = {
            "release": self.release.digest,
            "photos": {photo: photos[photo] for photo in encodings.photo_ids},
            "models": encodings.models,
            "views": encodings.views,
            "shares": encodings.shares,
        }
        content = save({"vectors": encodings.vectors}, metadata={"about": json.dumps(about)})
        write_bytes(self._cache, content, private=True)


def _joined(first: Encodings, second: Encodings) -> Encodings:
    vectors = np.concatenate([first.vectors, second.vectors])
    return Encodings((*first.photo_ids, *second.photo_ids), vectors, first.models, first.views, first.shares)
