"""From photo indices to embeddings: through the whole model, or from features computed once.

While the backbone is frozen its outputs do not change, so a fixed set of augmented views goes through it once
and every later step costs the head alone.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.learning.augment import augment
from common.learning.data import TrainingData
from common.learning.local_state import LocalState
from common.learning.plan import TrainingPlan
from common.models.phenotype import PhenotypeModel, as_tensor, embed


class Inputs(Protocol):
    """Embeddings of a silo's photos."""

    def drawn(self, photos: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        """Unit embeddings (len(photos), d) of augmented photos, with gradients."""

    def plain(self) -> Tensor:
        """Unit embeddings (n, d) of every photo as it is, without gradients."""


def inputs_for(model: PhenotypeModel, data: TrainingData, plan: TrainingPlan, state: LocalState) -> Inputs:
    """``FrozenInputs`` where no parameter of the backbone learns, ``LiveInputs`` otherwise."""
    if any(parameter.requires_grad for parameter in model.backbone.parameters()):
        return LiveInputs(model, data, plan)
    return FrozenInputs(model, data, plan, state)


class LiveInputs:
    """Augments anew and runs the whole model for every batch."""

    def __init__(self, model: PhenotypeModel, data: TrainingData, plan: TrainingPlan) -> None:
        self._model, self._data, self._plan = model, data, plan

    def drawn(self, photos: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        crops = augment(as_tensor(self._data.crops[photos]), self._plan.augmentation, rng)
        return self._model(crops)

    def plain(self) -> Tensor:
        return torch.from_numpy(embed(self._model, self._data.crops))


class FrozenInputs:
    """Draws one of the views whose features ``state`` keeps; view 0 is the photo as it is."""

    def __init__(self, model: PhenotypeModel, data: TrainingData, plan: TrainingPlan, state: LocalState) -> None:
        self._model = model
        if state.features is None:
            state.features = _view_features(model, data, plan, np.random.default_rng(state.seed))
        self._features = state.features

    def drawn(self, photos: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        views = rng.integers(len(self._features), size=len(photos))
        return self._model.head(self._features[views, photos])

    def plain(self) -> Tensor:
        with torch.no_grad():
            return self._model.head(self._features[0])


def _view_features(
    model: PhenotypeModel, data: TrainingData, plan: TrainingPlan, rng: np.random.Generator
) -> Tensor:
    """Features (views, n, d) of the plain photos and ``cached_views`` - 1 augmented copies."""
    views = [torch.from_numpy(embed(model.backbone, data.crops))]
    for _ in range(1, plan.cached_views):
        changed = augment(as_tensor(data.crops), plan.augmentation, rng).round().byte().numpy()
        views.append(torch.from_numpy(embed(model.backbone, changed.transpose(0, 2, 3, 1))))
    return torch.stack(views)
