"""Which parameters learn, and which of those travel: chosen by the type of their module.

Shared: the trainable part of the backbone, the projection and the temperature. Local: classifier rows.
Normalisation statistics are buffers that no one changes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from common.errors import TrainingError
from common.models.head import ClassRows
from common.models.phenotype import PhenotypeModel

DEPTH_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)  # what counts as one step of depth
LOCAL_MODULES = (ClassRows,)


def make_trainable(model: PhenotypeModel, fraction: float) -> None:
    """Let the head and the last ``fraction`` (0..1) of the backbone's depth learn; freeze the rest.

    Depth counts convolutions and linear layers in the order in which the backbone registers them; whatever
    stands between two of them (activation slopes, normalisation scales) goes with the earlier one.
    """
    depth = sum(isinstance(module, DEPTH_LAYERS) for module in model.backbone.modules())
    first = depth - math.ceil(fraction * depth)
    seen = 0
    for module in model.backbone.modules():
        seen += isinstance(module, DEPTH_LAYERS)
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(seen > first)
    for parameter in model.head.parameters():
        parameter.requires_grad_(True)


def shared_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The trainable parameters outside local modules, by path, in sorted order of the paths."""
    local = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, LOCAL_MODULES)
        for parameter in module.parameters()
    }
    named = {
        path: parameter
        for path, parameter in model.named_parameters()
        if parameter.requires_grad and id(parameter) not in local
    }
    return dict(sorted(named.items()))


def shared_state(model: nn.Module) -> dict[str, Tensor]:
    """Copies of the shared parameters, by path, in sorted order."""
    return {path: parameter.detach().clone() for path, parameter in shared_parameters(model).items()}


def load_shared(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Write ``state`` into the shared parameters of ``model``.

    Raises:
        TrainingError: other paths or shapes than the model's; nothing is written then.
    """
    parameters = shared_parameters(model)
    wrong = sorted(set(parameters) ^ set(state))
    wrong += [path for path in parameters if path in state and state[path].shape != parameters[path].shape]
    if wrong:
        raise TrainingError(
            f"weights do not fit the model at {', '.join(wrong[:3])}{', ...' if len(wrong) > 3 else ''}",
            remedy="use one backbone and one trainable fraction on all sides",
        )
    with torch.no_grad():
        for path, parameter in parameters.items():
            parameter.copy_(state[path])
