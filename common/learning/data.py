"""What one silo trains on: crops, and whose they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.errors import TrainingError


@dataclass(frozen=True)
class TrainingData:
    """``crops`` (n, h, w, 3) uint8 RGB, ``labels`` (n,) int64 syndromes, ``patients`` (n,) int64.

    Raises:
        TrainingError: lengths differ, a photo is missing, or a patient has two syndromes.
    """

    crops: NDArray[np.uint8]
    labels: NDArray[np.int64]
    patients: NDArray[np.int64]

    def __post_init__(self) -> None:
        if not len(self.crops) == len(self.labels) == len(self.patients):
            raise TrainingError("crops, labels and patients differ in number", remedy="give one of each a photo")
        if not len(self.crops):
            raise TrainingError("no photo to train on", remedy="import photos with consent to train")
        pairs = np.unique(np.stack([self.patients, self.labels], axis=1), axis=0)
        if len(pairs) > len(np.unique(self.patients)):
            raise TrainingError("a patient has two syndromes", remedy="give each patient one label")

    @property
    def patient_count(self) -> int:
        """Number of patients: the silo's weight."""
        return len(np.unique(self.patients))

    @property
    def syndrome_count(self) -> int:
        """Number of syndromes."""
        return len(np.unique(self.labels))
