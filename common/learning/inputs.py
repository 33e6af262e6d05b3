"""From photo indices to embeddings: through the whole model, or from what its frozen part gave once."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.learning.augment import augment
from common.learning.data import TrainingData
from common.learning.frozen_part import Parts, split
from common.learning.local_state import LocalState
from common.learning.plan import TrainingPlan
from common.models.phenotype import PhenotypeModel, as_tensor, embed

BATCH = 32  # photos that go through the network at once where no gradient is needed
LARGEST_HALF = 6e4  # values beyond this do not fit float16


class Inputs(Protocol):
    """Embeddings of a silo's photos."""

    def drawn(self, photos: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        """Unit embeddings (len(photos), d) of augmented photos, with gradients."""

    def plain(self) -> Tensor:
        """Unit embeddings (n, d) of every photo as it is, without gradients."""


def inputs_for(model: PhenotypeModel, data: TrainingData, plan: TrainingPlan, state: LocalState) -> Inputs:
    """``CachedInputs`` where the plan allows it and a part of the backbone is frozen, else ``LiveInputs``."""
    if not plan.cached_views:
        return LiveInputs(model, data, plan)
    if state.parts is None or state.parts.backbone is not model.backbone:
        state.parts = split(model, as_tensor(data.crops[:2], model.device))
    if state.views is None and state.parts is not None:
        state.views = _views(state.parts, data, plan, model.device, np.random.default_rng(state.seed))
    if state.parts is None or state.views is None or not len(state.views):
        return LiveInputs(model, data, plan)
    return CachedInputs(model, state.parts.learning, state.views)


class LiveInputs:
    """Augments anew and runs the whole model for every batch."""

    def __init__(self, model: PhenotypeModel, data: TrainingData, plan: TrainingPlan) -> None:
        self._model, self._data, self._plan = model, data, plan

    def drawn(self, photos: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        crops = augment(as_tensor(self._data.crops[photos], self._model.device), self._plan.augmentation, rng)
        return self._model(crops)

    def plain(self) -> Tensor:
        return torch.from_numpy(embed(self._model, self._data.crops, batch=BATCH)).to(self._model.device)


class CachedInputs:
    """Draws, for each photo, one of its views (views, n, ...) that went through the frozen part already.

    View 0 is the photo as it is. The views lie in main memory, which is larger than a GPU's.
    """

    def __init__(self, model: PhenotypeModel, learning: torch.nn.Module, views: Tensor) -> None:
        self._model, self._learning, self._views = model, learning, views

    def drawn(self, photos: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        chosen = rng.integers(len(self._views), size=len(photos))
        return self._embed(self._views[chosen, photos])

    def plain(self) -> Tensor:
        with torch.no_grad():
            return torch.cat([self._embed(part) for part in torch.split(self._views[0], BATCH)])

    def _embed(self, values: Tensor) -> Tensor:
        return self._model.head(self._learning(values.to(self._model.device).float()))


def _views(
    parts: Parts, data: TrainingData, plan: TrainingPlan, device: torch.device, rng: np.random.Generator
) -> Tensor:
    """The frozen part's outputs (views, n, ...) float16 of the plain photos and augmented copies of them.

    As many views as ``cached_views`` and the memory of the plan allow; none where fewer than two would fit, or
    where values would not fit float16.
    """
    first = _outputs(parts, as_tensor(data.crops[:1], device))
    bytes_a_view = first.numel() * 2 * len(data.crops)
    count = min(plan.cached_views, int(plan.cache_megabytes * 1e6 / bytes_a_view))
    if count < min(2, plan.cached_views):
        return torch.empty(0)
    views = torch.empty((count, len(data.crops), *first.shape[1:]), dtype=torch.float16)
    for view in range(count):
        for start in range(0, len(data.crops), BATCH):
            crops = as_tensor(data.crops[start : start + BATCH], device)
            outputs = _outputs(parts, augment(crops, plan.augmentation, rng) if view else crops)
            if outputs.abs().max() > LARGEST_HALF:
                return torch.empty(0)
            views[view, start : start + BATCH] = outputs.half()
    return views


def _outputs(parts: Parts, crops: Tensor) -> Tensor:
    with torch.no_grad():
        return parts.frozen(crops)
