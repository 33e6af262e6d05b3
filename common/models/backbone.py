"""A face network with its normalisation inside: pixels in, features out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from common.models.specs import BackboneSpec

CROP_SHAPE = (3, 112, 112)


class Backbone(nn.Module):
    """Crops ``(n, 3, 112, 112)`` RGB, uint8 or float in 0..255, to features ``(n, embedding_dim)`` float32.

    The features have any norm. ``spec`` says what was loaded, hash and normalisation included. The normalisation
    is kept in buffers outside the state dict, which therefore holds the network's weights alone.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, *, spec: BackboneSpec, embedding_dim: int) -> None:
        if spec.normalisation is None:
            raise ValueError("the spec declares no normalisation")
        super().__init__()
        self.network = network
        self.spec = spec.model_copy(update={"embedding_dim": embedding_dim})
        self.embedding_dim = embedding_dim
        self.reverse_channels = spec.normalisation.channels == "BGR"
        for name in ("mean", "std"):
            values = torch.tensor(getattr(spec.normalisation, name)) * 255.0
            self.register_buffer(name, values.view(1, 3, 1, 1), persistent=False)

    def forward(self, crops: Tensor) -> Tensor:
        """Features ``(n, embedding_dim)`` float32.

        Raises:
            ValueError: ``crops`` are not ``(n, 3, 112, 112)``.
        """
        if crops.shape[1:] != CROP_SHAPE:
            raise ValueError(f"crops have shape {tuple(crops.shape)}, not (n, 3, 112, 112)")
        images = crops.float()
        if self.reverse_channels:
            images = images.flip(1)
        return self.network((images - self.mean) / self.std).float()

    def stages(self) -> list[nn.Module]:
        """The modules that hold parameters of their own, from the image to the embedding.

        Registration order is the order of computation in our networks, and the graph's order in ONNX ones. To
        freeze the first part of the depth, freeze the first part of this list.
        """
        return [
            module for module in self.network.modules() if next(module.parameters(recurse=False), None) is not None
        ]
