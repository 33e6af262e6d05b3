"""Random changes to training crops: what cameras and small photographs do, never what a syndrome does.

The set of Hustinx et al. (WACV 2023): horizontal flip, colour jitter, grey, shrink-and-back.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from common.learning.plan import AugmentationPlan

GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601 luma
SMALLEST, LARGEST = 50, 100  # pixels of the shrunk side, for crops of 112


def augment(crops: Tensor, plan: AugmentationPlan, rng: np.random.Generator) -> Tensor:
    """Crops (n, 3, h, w) float 0..255 -> changed copies of the same shape and range, where the crops lie.

    The number of values drawn from ``rng`` depends on n alone, so that streams stay aligned between plans.
    """
    count = len(crops)
    chances = rng.random((4, count))
    factors = 1 + plan.jitter * (2 * rng.random((3, count)) - 1)
    sides = rng.integers(SMALLEST, LARGEST + 1, count)

    where = crops.device
    changed = torch.where(_mask(chances[0] < plan.flip, where), crops.flip(3), crops)
    strengths = torch.from_numpy(factors.astype(np.float32)).to(where)
    brightness, contrast, saturation = strengths[:, :, None, None, None]
    if plan.jitter > 0:
        changed = changed * brightness
        middle = changed.mean(dim=(1, 2, 3), keepdim=True)
        changed = middle + (changed - middle) * contrast
        luma = grey(changed)
        changed = luma + (changed - luma) * saturation
    changed = torch.where(_mask(chances[1] < plan.grey, where), grey(changed), changed)
    changed = changed.clamp(0, 255)
    for index in np.flatnonzero(chances[2] < plan.shrink):
        changed[index] = shrink_and_back(changed[index], int(sides[index]))
    return changed


def grey(crops: Tensor) -> Tensor:
    """Luma of crops (n, 3, h, w), repeated on the three channels."""
    weights = torch.tensor(GREY, dtype=crops.dtype).to(crops.device)[None, :, None, None]
    return (crops * weights).sum(dim=1, keepdim=True).expand_as(crops)


def shrink_and_back(crop: Tensor, side: int) -> Tensor:
    """A crop (3, h, w) through ``side`` pixels of height and back to its size, bilinear with antialiasing."""
    height, width = crop.shape[1:]
    small = functional.interpolate(
        crop[None], (side, max(1, side * width // height)), mode="bilinear", antialias=True
    )
    return functional.interpolate(small, (height, width), mode="bilinear")[0]


def _mask(chosen: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(chosen).to(device)[:, None, None, None]
