"""The patients who may be compared with other hospitals', and nobody else."""

from __future__ import annotations

import datetime

import numpy as np

from common.cohort.schema import Cohort, Purpose
from common.ranking.patients import Embeddings, Floats


class Unsolved:
    """Patients without a syndrome who agreed to discovery and whose photos gave an embedding.

    Args:
        on: the day on which consents are judged.

    Attributes:
        ids: (m,) in the cohort's order.
        matrix: (m, d) float32 unit rows.
    """

    def __init__(self, cohort: Cohort, embeddings: Embeddings, *, on: datetime.date) -> None:
        known = frozenset(embeddings.ids)
        allowed = cohort.for_purpose(Purpose.DISCOVER, on).patients
        self.ids = tuple(patient.id for patient in allowed if patient.syndrome is None and patient.id in known)
        width = embeddings.matrix.shape[1]
        self.matrix: Floats = embeddings.rows(self.ids) if self.ids else np.zeros((0, width), dtype=np.float32)

    def rows(self, ids: tuple[str, ...]) -> Floats:
        """The named rows, in the order asked for; KeyError names a missing one."""
        return Embeddings(self.ids, self.matrix).rows(ids)
