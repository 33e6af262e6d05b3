"""The class-agnostic meta-learning head: a projection of the embedding and a learnable temperature.

It knows no syndrome, so it can be shared: a classifier row of a class with one patient would be that patient's
embedding. Follows the metric head of Meta-Baseline (Chen et al., ICCV 2021).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 1.0, 100.0


class Temperature(nn.Module):
    """A learnable positive factor on cosines, kept as its logarithm and within 1..100."""

    def __init__(self, initial: float = 10.0) -> None:
        super().__init__()
        self.logarithm = nn.Parameter(torch.tensor(math.log(initial)))

    def forward(self, cosines: Tensor) -> Tensor:
        """Cosines of any shape, multiplied by the factor."""
        bounded = self.logarithm.clamp(math.log(LOWEST_TEMPERATURE), math.log(HIGHEST_TEMPERATURE))
        return cosines * bounded.exp()

    @property
    def value(self) -> float:
        """The factor."""
        return float(self(self.logarithm.new_ones(())).detach())


class MetaHead(nn.Module):
    """Features (n, d) -> unit embeddings (n, d): a residual projection that starts as the identity.

    Before training the embedding is therefore exactly the pretrained feature, scaled to unit norm.

    >>> head = MetaHead(4)
    >>> head(torch.tensor([[0.0, 3.0, 0.0, 4.0]])).detach().numpy().round(2).tolist()
    [[0.0, 0.6, 0.0, 0.8]]
    """

    def __init__(self, dim: int, *, temperature: float = 10.0) -> None:
        super().__init__()
        self.projection = nn.Linear(dim, dim)
        nn.init.zeros_(self.projection.weight)
        nn.init.zeros_(self.projection.bias)
        self.temperature = Temperature(temperature)

    def forward(self, features: Tensor) -> Tensor:
        """Features (n, d) float32 of any norm -> (n, d) float32 of unit norm."""
        direction = functional.normalize(features, dim=1)
        return functional.normalize(direction + self.projection(direction), dim=1)

    def logits(self, embeddings: Tensor, prototypes: Tensor) -> Tensor:
        """Temperature times cosine: (n, d) unit and (c, d) of any norm -> (n, c)."""
        cosines: Tensor = embeddings @ functional.normalize(prototypes, dim=1).T
        return self.temperature(cosines)


class ClassRows(nn.Module):
    """One row for each syndrome of one silo: the classifier of the warm-up. Local, never shared.

    ``labels`` (c,) int64 are the silo's own; rows (c, d) start at the given prototypes.
    """

    labels: Tensor

    def __init__(self, labels: Tensor, prototypes: Tensor) -> None:
        super().__init__()
        self.register_buffer("labels", labels.clone())
        self.rows = nn.Parameter(functional.normalize(prototypes.detach().clone(), dim=1))

    def targets(self, labels: Tensor) -> Tensor:
        """Labels (n,) -> row indices (n,); every label must be one of the silo's."""
        return torch.searchsorted(self.labels, labels)
