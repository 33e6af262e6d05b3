"""Crops to encodings: every view of every photo through a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import nn

from common.faces.views import VIEWS, View, render
from common.models.phenotype import embed
from common.ranking.patients import Encodings, unit


def encode(
    model: nn.Module,
    photo_ids: Sequence[str],
    crops: NDArray[np.uint8],
    *,
    views: Sequence[View] = VIEWS,
    batch: int = 64,
    on_batch: Callable[[int], None] = lambda photos: None,
) -> Encodings:
    """Unit vectors of each view of crops (n, 112, 112, 3) uint8.

    Args:
        on_batch: called with the number of photos done since the last call.
    """
    parts = []
    for start in range(0, len(crops), batch):
        part = crops[start : start + batch]
        vectors = [unit(embed(model, render(part, flip=view.flip, grey=view.grey))) for view in views]
        parts.append(np.stack(vectors, axis=1)[:, None])
        on_batch(len(part))
    return Encodings(
        tuple(photo_ids),
        np.concatenate(parts).astype(np.float32),
        ("m0",),
        tuple((int(view.flip), int(view.grey)) for view in views),
    )
