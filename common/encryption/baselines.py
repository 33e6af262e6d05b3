"""TenSEAL's own product of an encrypted vector with a matrix, to compare with. Measuring processes only."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import tenseal

LARGEST = 2048
"""Scores that one product gives right; more take several."""

Vector = npt.NDArray[np.float64]


def product(rows: Vector, query: Vector) -> Callable[[], Vector]:
    """What computes the scores of rows (S, d) for a query (d,) by ``CKKSVector.mm``, keys and encryption done.

    The parameters are the usual ones at this depth and security. Called, it gives (S,), decrypted by a key that is
    in the same process, without noise, Enc(0) or mask: less than an answer of ours takes.
    """
    context = tenseal.context(tenseal.SCHEME_TYPE.CKKS, 8192, -1, [60, 40, 60], n_threads=1)
    context.global_scale = 2.0**40
    context.generate_galois_keys()
    vector = tenseal.ckks_vector(context, query.tolist())
    parts = [rows[start : start + LARGEST] for start in range(0, len(rows), LARGEST)]
    matrices = [part.T.tolist() for part in parts]

    def compute() -> Vector:
        found = [vector.mm(matrix).decrypt()[: len(part)] for part, matrix in zip(parts, matrices, strict=True)]
        return np.concatenate(found)

    return compute
