"""MobileFaceNet (Chen et al. 2018), in the layout of insightface's ``mbf`` models.

That is the variant with doubled width (128 channels after the first convolution) and a global depthwise
convolution at the end; module names are those of insightface's published state dicts, which load with
``strict=True``. Other MobileFaceNets (foamliu's, say) come in as ONNX files.
"""

from __future__ import annotations

from torch import Tensor, nn


class MobileFaceNet(nn.Module):
    """Inverted residual blocks with PReLU; about 2.1 million parameters at 512 dimensions."""

    def __init__(self, *, embedding_dim: int = 512, width: int = 128) -> None:
        super().__init__()
        wide = 2 * width
        self.layers = nn.ModuleList(
            [
                ConvBlock(3, width, 3, stride=2),
                ConvBlock(width, width, 3, groups=width // 2),
                Bottleneck(width, width, 128, stride=2),
                Bottlenecks(width, 128, 4),
                Bottleneck(width, wide, 256, stride=2),
                Bottlenecks(wide, 256, 6),
                Bottleneck(wide, wide, 512, stride=2),
                Bottlenecks(wide, 256, 2),
            ]
        )
        self.conv_sep = ConvBlock(wide, 512, 1)
        self.features = _Sequence(
            ConvBlock(512, 512, 7, padding=0, groups=512, active=False),
            nn.Flatten(),
            nn.Linear(512, embedding_dim, bias=False),
            nn.BatchNorm1d(embedding_dim),
        )

    def forward(self, images: Tensor) -> Tensor:
        """``(n, 3, 112, 112)`` normalised images to ``(n, embedding_dim)``."""
        x = images
        for layer in self.layers:
            x = layer(x)
        return self.features(self.conv_sep(x))


class _Sequence(nn.Module):
    """Modules in a row under the name ``layers``, as the published state dicts have it."""

    def __init__(self, *modules: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*modules)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class ConvBlock(_Sequence):
    """Convolution, batch norm and, unless it is a linear one, PReLU."""

    def __init__(
        self,
        channels_in: int,
        channels: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: int | None = None,
        groups: int = 1,
        active: bool = True,
    ) -> None:
        side = kernel // 2 if padding is None else padding
        convolution = nn.Conv2d(channels_in, channels, kernel, stride, side, groups=groups, bias=False)
        activation = [nn.PReLU(channels)] if active else []
        super().__init__(convolution, nn.BatchNorm2d(channels), *activation)


class Bottleneck(_Sequence):
    """Expand, filter each channel, project; with an identity beside it where the shape stays."""

    def __init__(
        self, channels_in: int, channels: int, inner: int, *, stride: int = 1, residual: bool = False
    ) -> None:
        super().__init__(
            ConvBlock(channels_in, inner, 1),
            ConvBlock(inner, inner, 3, stride=stride, groups=inner),
            ConvBlock(inner, channels, 1, active=False),
        )
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        branch = self.layers(x)
        return x + branch if self.residual else branch


class Bottlenecks(_Sequence):
    """``count`` residual bottlenecks of one width."""

    def __init__(self, channels: int, inner: int, count: int) -> None:
        super().__init__(*(Bottleneck(channels, channels, inner, residual=True) for _ in range(count)))
