"""Improved residual networks for faces, in the layout of the insightface project.

Duta et al. 2020, "Improved Residual Networks for Image and Video Recognition"; block order (BN, conv, BN, PReLU,
conv, BN) and first stride as in ArcFace (Deng et al. 2019). Module names are those of insightface's published
state dicts, which therefore load with ``strict=True``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

CROP = 112
EPSILON = 1e-5

DEPTHS = {
    "iresnet18": (2, 2, 2, 2),
    "iresnet34": (3, 4, 6, 3),
    "iresnet50": (3, 4, 14, 3),
    "iresnet100": (3, 13, 30, 3),
}


class IResNet(nn.Module):
    """Four stages of residual blocks, then one fully connected layer.

    Args:
        blocks: blocks of each stage.
        width: channels of the first stage; each further stage doubles them. At least 16: narrower 1x1 convolutions
            of stride 2 corrupt memory in torch 2.13.
        stem_stride: 1 as published; 2 computes the first stage on 56x56 instead of 112x112 positions.
        embedding_dim: length of the embedding.
    """

    def __init__(
        self, blocks: tuple[int, ...], *, width: int = 64, stem_stride: int = 1, embedding_dim: int = 512
    ) -> None:
        if width < 16:
            raise ValueError(f"width {width} is below 16")
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, stem_stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width, eps=EPSILON)
        self.prelu = nn.PReLU(width)
        self.layer1 = _stage(width, width, blocks[0])
        self.layer2 = _stage(width, 2 * width, blocks[1])
        self.layer3 = _stage(2 * width, 4 * width, blocks[2])
        self.layer4 = _stage(4 * width, 8 * width, blocks[3])
        self.bn2 = nn.BatchNorm2d(8 * width, eps=EPSILON)
        side = CROP // stem_stride
        for _ in blocks:
            side = (side + 1) // 2
        self.fc = nn.Linear(8 * width * side * side, embedding_dim)
        self.features = nn.BatchNorm1d(embedding_dim, eps=EPSILON)
        # Published weights have it fixed at one: the margin losses look at directions only.
        self.features.weight.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """``(n, 3, 112, 112)`` normalised images to ``(n, embedding_dim)``."""
        x = self.prelu(self.bn1(self.conv1(images)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        x = torch.flatten(self.bn2(x), 1)
        return self.features(self.fc(x))


class Block(nn.Module):
    """Two 3x3 convolutions beside an identity; the second one carries the stride."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels_in, eps=EPSILON)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels, eps=EPSILON)
        self.prelu = nn.PReLU(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels, eps=EPSILON)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or channels_in != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels, eps=EPSILON)
            )

    def forward(self, x: Tensor) -> Tensor:
        branch = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        branch = self.bn3(self.conv2(branch))
        return branch + (x if self.downsample is None else self.downsample(x))


def _stage(channels_in: int, channels: int, blocks: int) -> nn.Sequential:
    first = Block(channels_in, channels, 2)
    return nn.Sequential(first, *(Block(channels, channels, 1) for _ in range(blocks - 1)))
