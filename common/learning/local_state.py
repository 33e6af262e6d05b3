"""What a silo keeps between rounds and never sends: classifier rows, and what it computed once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from common.learning.frozen_part import Parts
from common.models.head import ClassRows


@dataclass
class LocalState:
    """``seed`` drives what is drawn once for all rounds, so that a resumed run draws the same again.

    ``rows``: the silo's classifier, made at its first round. ``anchors`` (n, d): embeddings before training.
    ``views`` (views, n, ...): what the frozen part of the backbone gave; ``parts``: that part and the rest.
    Both are caches that ``tensors`` leaves out.
    """

    seed: int
    rows: ClassRows | None = None
    anchors: Tensor | None = None
    views: Tensor | None = None
    parts: Parts | None = None

    def tensors(self) -> dict[str, Tensor]:
        """What must outlive the process, by name; on the processor, wherever the state lies."""
        kept: dict[str, Tensor] = {}
        if self.rows is not None:
            kept |= {"rows": _kept(self.rows.rows), "labels": _kept(self.rows.labels)}
        if self.anchors is not None:
            kept["anchors"] = _kept(self.anchors)
        return kept

    def to(self, device: torch.device) -> None:
        """Move what a step computes with to where the model is; views stay in main memory."""
        if self.rows is not None:
            self.rows = self.rows.to(device)
        if self.anchors is not None:
            self.anchors = self.anchors.to(device)

    @classmethod
    def restored(cls, seed: int, tensors: Mapping[str, Tensor]) -> LocalState:
        """The state whose ``tensors`` these were."""
        state = cls(seed, anchors=tensors.get("anchors"))
        if "rows" in tensors:
            state.rows = ClassRows(tensors["labels"], tensors["rows"])
            with torch.no_grad():  # exactly as kept: the constructor normalises
                state.rows.rows.copy_(tensors["rows"])
        return state


def _kept(value: Tensor) -> Tensor:
    return value.detach().clone().cpu()
