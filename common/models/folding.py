"""Batch normalisation with fixed statistics, as a scale and a shift that hold no statistics.

A batch norm in training mode writes the batch into its running statistics, also when its own parameters are
frozen: they drift between hospitals and leak past a privacy accountant. Replacing it by group norm destroys
pretrained features. Folding keeps the function and leaves two ordinary parameters a channel.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ChannelAffine(nn.Module):
    """``x * weight + bias`` for each channel (dimension 1) of ``(n, c)`` or ``(n, c, ...)``."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach().clone())
        self.bias = nn.Parameter(bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        shape = (1, -1) + (1,) * (x.dim() - 2)
        return x * self.weight.view(shape) + self.bias.view(shape)


def folded(norm: nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d) -> ChannelAffine:
    """The affine layer that computes what ``norm`` computes in evaluation mode.

    Raises:
        ValueError: ``norm`` keeps no running statistics, so there is nothing to fold.
    """
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("a batch norm without running statistics cannot be folded")
    # In double precision: small variances amplify the rounding of the square root.
    scale = 1.0 / torch.sqrt(norm.running_var.double() + norm.eps)
    shift = -norm.running_mean.double() * scale
    if norm.affine:
        shift = shift * norm.weight.double() + norm.bias.double()
        scale = scale * norm.weight.double()
    return ChannelAffine(scale.to(norm.running_var.dtype), shift.to(norm.running_var.dtype))


def fold_batch_norm(module: nn.Module) -> nn.Module:
    """Replace every batch norm inside ``module``, in place, and return it; a batch norm itself returns its fold.

    Modules are recognised by type, so this holds for networks that came as ONNX as well. Afterwards training and
    evaluation mode compute the same, to rounding.
    """
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    if isinstance(module, kinds):
        return folded(module)
    for name, child in list(module.named_children()):
        if isinstance(child, kinds):
            setattr(module, name, folded(child))
        else:
            fold_batch_norm(child)
    return module
