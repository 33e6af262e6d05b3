"""How well a backbone tells unseen procedural people apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import nn

from common.models.phenotype import embed
from common.seeding import derive
from simulations.synthetic import identities

PEOPLE, PHOTOS = 200, 4


def unseen_people(seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Photos and labels of people whom no pre-training with this seed has seen."""
    return identities(PEOPLE, PHOTOS, derive(seed, "pretrain", "unseen"))


def verification(backbone: nn.Module, crops: NDArray[np.uint8], labels: NDArray[np.int64]) -> dict[str, float]:
    """``auc`` over all pairs of photos, and ``rank1``: the share of photos whose person's first photo is nearest.

    Both use cosines and lie in 0..1; a person's first photo is the gallery, the others are probes.
    """
    features = embed(backbone, crops)
    features = features / np.linalg.norm(features, axis=1, keepdims=True)
    cosines = features @ features.T
    first = np.unique(labels, return_index=True)[1]
    probes = np.setdiff1d(np.arange(len(labels)), first)
    nearest = labels[first][cosines[np.ix_(probes, first)].argmax(axis=1)]
    above = np.triu_indices(len(labels), 1)
    return {
        "auc": _auc(cosines[above], (labels[:, None] == labels[None, :])[above]),
        "rank1": float((nearest == labels[probes]).mean()),
    }


def _auc(scores: NDArray[np.float32], positive: NDArray[np.bool_]) -> float:
    """Mann and Whitney's: the chance that a positive scores above a negative, ties counted half."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    hits = int(positive.sum())
    wins = float(rank[positive].sum()) - hits * (hits + 1) / 2
    return wins / (hits * (len(scores) - hits))
