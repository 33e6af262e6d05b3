"""The model that silos train together: a face-recognition backbone and the meta-learning head."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from common.models.device import CPU, device_of, repeatable
from common.models.head import MetaHead


class PhenotypeModel(nn.Module):
    """Crops (n, 3, 112, 112) RGB 0..255 -> unit embeddings (n, d) float32.

    ``backbone`` maps such crops to (n, d) features and tells d as ``embedding_dim``. Batch normalisation always
    uses the pretrained statistics, in training too: statistics of one hospital's few patients would be worse and
    would leak, and since they never change they need not travel.
    """

    def __init__(self, backbone: nn.Module, *, temperature: float = 10.0) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = MetaHead(int(backbone.embedding_dim), temperature=temperature)  # type: ignore[arg-type]

    @property
    def device(self) -> torch.device:
        """Where the model lies, and where what it is given must lie."""
        return device_of(self)

    def forward(self, crops: Tensor) -> Tensor:
        """Unit embeddings (n, d) of crops (n, 3, 112, 112), uint8 or float 0..255."""
        return self.head(self.backbone(crops))

    def train(self, mode: bool = True) -> PhenotypeModel:
        """As in torch, except that normalisation statistics stay as they are."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, _NormBase):
                module.eval()
        return self


def embed(model: nn.Module, crops: NDArray[np.uint8], *, batch: int = 64) -> NDArray[np.float32]:
    """Outputs (n, d) float32 of ``model`` for crops (n, h, w, 3) uint8, without gradients, in batches.

    Batches go to where the model is; the outputs come back to the processor.

    Raises:
        TrainingError: the GPU's memory does not suffice.
    """
    was_training, device = model.training, device_of(model)
    model.eval()
    try:
        with torch.no_grad(), repeatable(device):
            parts = [model(part).float().cpu().numpy() for part in batches(crops, batch, device)]
    finally:
        model.train(was_training)
    return np.concatenate(parts)


def batches(crops: NDArray[np.uint8], size: int, device: torch.device = CPU) -> Iterator[Tensor]:
    """Crops (n, h, w, 3) uint8 as channel-first float tensors of at most ``size`` images, values 0..255."""
    for start in range(0, len(crops), size):
        yield as_tensor(crops[start : start + size], device)


def as_tensor(crops: NDArray[np.uint8], device: torch.device = CPU) -> Tensor:
    """Crops (n, h, w, 3) uint8 -> (n, 3, h, w) float32 with values 0..255, contiguous, on ``device``."""
    return torch.from_numpy(np.ascontiguousarray(crops.transpose(0, 3, 1, 2))).to(device).float()
