"""Nearly identical crops of different patients: one photo filed twice, or one person under two pseudonyms.

Two photos are near-duplicates when both a difference hash (is each cell of a coarse luma grid brighter than its
right neighbour) and the correlation of small luma images say so. Both hold under scaling, recompression and
changes of brightness, and neither needs a network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from common.faces.decode import Pixels

GRID = 16
BITS = GRID * GRID

# Of 800,000 pairs of different people's aligned faces, one passes both limits. Copies of a photo saved again at
# half size or JPEG quality 50 correlate above 0.999 and differ in more than 11 bits in 1 of 100 cases.
MAX_DISTANCE = 16
MIN_CORRELATION = 0.97

_THUMBNAIL = 28
_BLOCK = 1024


class NearDuplicate(NamedTuple):
    """Two photos of different patients, the bits of 256 in which they differ, and their correlation."""

    photo: str
    other: str
    distance: int
    correlation: float


def near_duplicates(
    crops: Sequence[Pixels], photo_ids: Sequence[str], patient_ids: Sequence[str]
) -> list[NearDuplicate]:
    """Pairs of photos of different patients that are nearly the same, nearest first.

    The three sequences run in parallel. Time grows with the square of the number of crops.
    """
    if len(crops) < 2:
        return []
    lumas = [np.asarray(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), dtype=np.uint8) for crop in crops]
    signs = np.stack([difference_hash(luma) for luma in lumas]).astype(np.float32) * 2 - 1
    thumbnails = np.stack([_thumbnail(luma) for luma in lumas])
    patients = np.array(patient_ids)
    pairs = []
    for start in range(0, len(signs), _BLOCK):
        block = slice(start, start + _BLOCK)
        # For +-1 vectors the inner product is BITS - 2 * (number of differing bits).
        distances = np.rint((BITS - signs[block] @ signs[start:].T) / 2).astype(np.int64)
        correlations = thumbnails[block] @ thumbnails[start:].T
        near = (distances <= MAX_DISTANCE) & (correlations >= MIN_CORRELATION)
        near &= patients[block, None] != patients[None, start:]
        for i, j in np.argwhere(np.triu(near, k=1)):
            photos = photo_ids[start + i], photo_ids[start + j]
            pairs.append(NearDuplicate(*photos, int(distances[i, j]), float(correlations[i, j])))
    return sorted(pairs, key=lambda pair: (pair.distance, pair.photo, pair.other))


def difference_hash(luma: Pixels) -> npt.NDArray[np.bool_]:
    """(256,) bits of a luma image (h, w) uint8."""
    grid = cv2.resize(luma, (GRID + 1, GRID), interpolation=cv2.INTER_AREA).astype(np.int16)
    bits: npt.NDArray[np.bool_] = grid[:, 1:] > grid[:, :-1]
    return bits.reshape(-1)


def _thumbnail(luma: Pixels) -> npt.NDArray[np.float32]:
    """(784,) float32 of mean 0 and norm 1; all zeros for a flat image."""
    small = cv2.resize(luma, (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA).astype(np.float32).reshape(-1)
    centred = small - small.mean()
    norm = float(np.linalg.norm(centred))
    unit: npt.NDArray[np.float32] = centred / norm if norm > 1e-3 else np.zeros_like(centred)
    return unit
