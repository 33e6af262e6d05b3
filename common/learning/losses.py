"""The losses of the two phases, and what keeps silos and model close to where they were."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from common.models.head import ClassRows, MetaHead


def prototypes(embeddings: Tensor, ways: Tensor, count: int) -> Tensor:
    """Mean of the embeddings (n, d) of each way (n,) -> (count, d); not normalised."""
    membership = functional.one_hot(ways, count).to(embeddings.dtype)
    return (membership.T @ embeddings) / membership.sum(dim=0).clamp(min=1)[:, None]


def episode_loss(
    head: MetaHead, support: Tensor, support_ways: Tensor, query: Tensor, query_ways: Tensor, ways: int
) -> Tensor:
    """Cross-entropy of queries (q, d) over the prototypes of the supports (s, d): Meta-Baseline's objective."""
    logits = head.logits(query, prototypes(support, support_ways, ways))
    return functional.cross_entropy(logits, query_ways)


def classifier_loss(
    head: MetaHead, rows: ClassRows, embeddings: Tensor, labels: Tensor, *, smoothing: float = 0.0
) -> Tensor:
    """Cross-entropy of embeddings (n, d) over the silo's own rows, by cosine: the warm-up's objective."""
    return functional.cross_entropy(
        head.logits(embeddings, rows.rows), rows.targets(labels), label_smoothing=smoothing
    )


def anchor_loss(embeddings: Tensor, before: Tensor) -> Tensor:
    """Mean of 1 - cosine between unit embeddings (n, d) now and before training."""
    return (1 - (embeddings * before).sum(dim=1)).mean()


def add_proximal_gradient(
    parameters: Mapping[str, nn.Parameter], received: Mapping[str, Tensor], strength: float
) -> None:
    """Add the gradient of strength/2 * |w - received|^2 to each parameter's (FedProx, Li et al., 2020)."""
    with torch.no_grad():
        for path, parameter in parameters.items():
            if parameter.grad is not None:
                parameter.grad.add_(parameter - received[path], alpha=strength)
