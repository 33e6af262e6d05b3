"""Our own networks by name, built without weights or with random ones from a generator."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from common.models.iresnet import DEPTHS, IResNet
from common.models.mobilefacenet import MobileFaceNet

THIN_WIDTH = 16
DEFAULT_DIM = {"thin": 128}
_DEFAULT_DIM = 512


def default_dim(architecture: str) -> int:
    """The embedding's length where the settings leave it open."""
    return DEFAULT_DIM.get(architecture, _DEFAULT_DIM)


def build(architecture: str, embedding_dim: int) -> nn.Module:
    """The network on torch's meta device: shapes only, no memory, no random numbers drawn.

    ``thin`` is an iResNet-18 of a quarter of the width whose first convolution halves the image: about 1.5 ms an
    image on one CPU thread.
    """
    with torch.device("meta"):
        return _BUILDERS[architecture](embedding_dim)


def initialise(network: nn.Module, generator: torch.Generator) -> nn.Module:
    """Fill a network from ``build`` with random weights, by the type of each module (He et al. 2015).

    Every number comes from ``generator`` (CPU); torch's global state is neither read nor moved.
    """
    network.to_empty(device="cpu")
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.out_channels // module.groups * math.prod(module.kernel_size)
                module.weight.normal_(0.0, math.sqrt(2.0 / fan_out), generator=generator)
            elif isinstance(module, nn.Linear):
                module.weight.normal_(0.0, math.sqrt(1.0 / module.in_features), generator=generator)
            elif isinstance(module, nn.PReLU):
                module.weight.fill_(0.25)
            elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.reset_parameters()
            elif next(module.parameters(recurse=False), None) is not None:
                raise TypeError(f"no initialisation is known for {type(module).__name__}")
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                module.bias.zero_()
    return network


def _thin(embedding_dim: int) -> nn.Module:
    return IResNet(DEPTHS["iresnet18"], width=THIN_WIDTH, stem_stride=2, embedding_dim=embedding_dim)


def _iresnet(name: str) -> Callable[[int], nn.Module]:
    return lambda embedding_dim: IResNet(DEPTHS[name], embedding_dim=embedding_dim)


_BUILDERS: dict[str, Callable[[int], nn.Module]] = {
    "thin": _thin,
    "mobilefacenet": lambda embedding_dim: MobileFaceNet(embedding_dim=embedding_dim),
    **{name: _iresnet(name) for name in DEPTHS},
}
