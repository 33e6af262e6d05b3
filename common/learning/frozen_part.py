"""The part of a backbone that does not learn, split off so that its outputs can be computed once.

Most of a forward pass is spent in the early, large layers. While they are frozen, their outputs for a fixed set of
views never change, and a step costs the trainable layers alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from common.models.phenotype import PhenotypeModel


@dataclass(frozen=True)
class Parts:
    """``learning(frozen(crops))`` is the output of ``backbone``; both hold its own modules."""

    backbone: nn.Module
    frozen: nn.Module
    learning: nn.Module


def split(model: PhenotypeModel, crops: Tensor) -> Parts | None:
    """The two parts of the model's backbone, or None where it learns from its first layers or cannot be traced.

    ``crops`` (n, 3, h, w) are a few examples: the parts are given only if they reproduce the backbone on them.
    """
    backbone = model.backbone
    if not any(parameter.requires_grad for parameter in backbone.parameters()):
        return Parts(backbone, backbone, nn.Identity())
    try:
        graph = _Tracer().trace(backbone)
    except Exception:  # whatever a network of others does in its forward
        return None
    cut = _cut(backbone, graph)
    if cut is None:
        return None
    parts = Parts(backbone, *(_part(backbone, graph, *ends) for ends in ((None, cut), (cut, None))))
    if next(parts.frozen.parameters(), None) is None:  # nothing but the normalisation of pixels
        return None
    with torch.no_grad():
        whole, again = backbone(crops), parts.learning(parts.frozen(crops))
    return parts if torch.allclose(whole, again, rtol=1e-4, atol=1e-5) else None


class _Tracer(fx.Tracer):
    """Keeps every module without children whole, and passes over guards of the form ``if bad: raise``."""

    def is_leaf_module(self, module: nn.Module, path: str) -> bool:
        return next(module.children(), None) is None

    def to_bool(self, proxy: Any) -> bool:
        return False


def _cut(backbone: nn.Module, graph: fx.Graph) -> fx.Node | None:
    """The last value before the first layer that learns on which alone everything later depends."""
    nodes = list(graph.nodes)
    place = {node: index for index, node in enumerate(nodes)}
    first = next((index for index, node in enumerate(nodes) if _learns(backbone, node)), 0)
    for index in range(first, 0, -1):
        alive = [
            node
            for node in nodes[:index]
            if not _constant(node) and any(place[user] >= index for user in node.users)
        ]
        if len(alive) == 1:
            return alive[0] if alive[0].op != "placeholder" else None
    return None


def _part(backbone: nn.Module, graph: fx.Graph, start: fx.Node | None, end: fx.Node | None) -> fx.GraphModule:
    """The computation after ``start`` (None: from the crops) up to ``end`` (None: to the embedding)."""
    nodes = list(graph.nodes)
    source = start or nodes[0]
    result = end or nodes[-1].args[0]
    part = fx.Graph()
    copies = {source: part.placeholder("values")}

    def copied(node: fx.Node) -> fx.Node:
        if node not in copies:  # constants are copied to where they are used
            copies[node] = part.node_copy(node, copied)
        return copies[node]

    for node in nodes[nodes.index(source) + 1 : nodes.index(result) + 1]:
        if not _constant(node):
            copied(node)
    part.output(copied(result))
    return fx.GraphModule(backbone, part)


def _constant(node: fx.Node) -> bool:
    return node.op != "placeholder" and not node.all_input_nodes


def _learns(backbone: nn.Module, node: fx.Node) -> bool:
    """Whether the node uses a parameter that is trained."""
    if node.op == "call_module":
        return any(p.requires_grad for p in backbone.get_submodule(str(node.target)).parameters())
    values = [entry for entry in node.all_input_nodes if entry.op == "get_attr"]
    return any(_attribute(backbone, str(entry.target)).requires_grad for entry in values)


def _attribute(module: nn.Module, path: str) -> Tensor:
    owner, _, name = path.rpartition(".")
    value: Tensor = getattr(module.get_submodule(owner), name)
    return value
