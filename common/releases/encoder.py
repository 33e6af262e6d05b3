"""The encoder that a silo or a clinic makes of a release."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.faces.views import VIEWS
from common.learning.assembly import ModelPool, write_shared
from common.models.encoding import encode
from common.ranking.patients import Encodings
from common.releases.release import Release

CHOSEN_VIEWS = {1: VIEWS[:1], 2: (VIEWS[0], VIEWS[2]), 4: VIEWS}
"""Test-time views by their number: as it is; with its mirror image; with both in grey too."""


class ReleasedEncoder:
    """Photos to encodings by a release, beside the untouched network where the release says so; for any threads.

    Args:
        backbone: where this machine keeps the backbone's file; None for one without a file.
        pool: of models, whose device is used.

    Raises:
        WeightsError: the backbone's file is missing or another one than the release was trained from.
    """

    def __init__(self, release: Release, backbone: Path | None, pool: ModelPool | None = None) -> None:
        self.release = release
        spec = release.manifest.backbone.model_copy(update={"path": backbone})
        self._pool = pool or ModelPool()
        self._model = self._pool.model(spec, release.manifest.training)
        self._untouched = self._pool.initial(spec, release.manifest.training)
        # Both networks are one model in memory, whose parameters change.
        self._encoding = threading.Lock()

    @property
    def dimension(self) -> int:
        """Length of a patient's embedding: those of all networks, one after the other."""
        return int(self._model.backbone.embedding_dim) * (2 if self.release.manifest.encoding.ensemble else 1)  # type: ignore[arg-type]

    def encode(self, photo_ids: Sequence[str], crops: NDArray[np.uint8]) -> Encodings:
        """Encodings of crops (n, 112, 112, 3) uint8 RGB."""
        how = self.release.manifest.encoding
        views = CHOSEN_VIEWS[how.views]
        with self._encoding:
            write_shared(self._model, self.release.parameters)
            trained = encode(self._model, photo_ids, crops, views=views)
            if not how.ensemble:
                return trained
            write_shared(self._model, self._untouched)
            untouched = encode(self._model, photo_ids, crops, views=views)
        return trained.with_models_of(untouched, share=how.untouched_share)
