"""A second device for machines without a GPU: it computes on the processor and refuses what a GPU would refuse.

    with pretended_gpu():
        model.to("cuda:0")(crops)  # RuntimeError: conv2d mixes cuda:0 and cpu

Tensors moved to ``cuda:0`` become wrappers around their values. Every operator that torch dispatches, those of the
backward pass included, is checked for mixed devices and then run by the processor's kernel. So a forgotten move
fails as on a GPU, and where none is forgotten the processor's very bits come out. What only a GPU has (its own
rounding, its memory, its speed) is not pretended.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

GPU = torch.device("cuda", 0)
ATEN = torch.ops.aten
# CUDA takes indices from the processor for tensors of its own, and copies between devices.
CROSSING = {ATEN.index.Tensor, ATEN.index_put_.default, ATEN.copy_.default, ATEN._to_copy.default}


class OnGpu(Tensor):
    """A tensor that says that it lies on ``cuda:0``; ``values`` are what it holds."""

    values: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, values: Tensor) -> OnGpu:
        # To torch's C++ it is a meta tensor: a build without CUDA has no backward pass for anything else.
        tensor = torch.Tensor._make_wrapper_subclass(
            cls,
            values.shape,
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            device="meta",
        )
        tensor.values = values
        return tensor

    @property
    def device(self) -> torch.device:
        return GPU

    @classmethod
    def __torch_dispatch__(cls, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(operator, args, kwargs or {})

    def __repr__(self) -> str:
        return f"OnGpu({self.values!r})"


class _EveryOperator(TorchDispatchMode):
    """Sees the operators that touch no tensor of ours yet: moves to the device, and creation on it."""

    def __init__(self) -> None:
        super().__init__()
        self.on_gpu: set[str] = set()

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = _run(operator, args, kwargs or {})
        if any(isinstance(leaf, OnGpu) for leaf in tree_leaves(result)):
            self.on_gpu.add(operator.overloadpacket.__name__)
        return result


@contextmanager
def pretended_gpu() -> Iterator[set[str]]:
    """One GPU, as far as torch tells; gives the names of the operators that ran on it so far."""
    mode = _EveryOperator()
    with (
        mock.patch.multiple(
            torch.cuda,
            is_available=lambda: True,
            device_count=lambda: 1,
            get_device_name=lambda device: "pretended",
            _lazy_init=lambda: None,
        ),
        # A build with CUDA would ask the driver, which is not there, about graphs that it may be recording.
        mock.patch.object(torch.accelerator, "current_accelerator", return_value=None),
        mode,
    ):
        yield mode.on_gpu


def _run(operator: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    leaves = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    ours = [leaf for leaf in leaves if isinstance(leaf, OnGpu)]
    wanted = kwargs.get("device")
    to_gpu = bool(ours) if wanted is None else _is_gpu(torch.device(wanted))
    _check(operator, leaves, ours, kwargs, to_gpu)
    if to_gpu and wanted is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    plain_args, plain_kwargs = tree_map_only(OnGpu, lambda tensor: tensor.values, (args, kwargs))
    result = operator(*plain_args, **plain_kwargs)
    if not to_gpu or (operator is ATEN.copy_.default and not isinstance(args[0], OnGpu)):
        return args[0] if operator is ATEN.copy_.default else result
    wrapped = tree_map_only(Tensor, OnGpu, result)
    return return_and_correct_aliasing(operator, args, kwargs, wrapped) if ours else wrapped


def _is_gpu(wanted: torch.device) -> bool:
    """Torch's C++ asks for the meta device where it creates something beside a tensor of ours."""
    return wanted.type == "cuda" or (wanted.type == "meta" and torch.get_default_device().type != "meta")


def _check(operator: Any, leaves: list[Tensor], ours: list[OnGpu], kwargs: dict[str, Any], to_gpu: bool) -> None:
    name = operator.overloadpacket.__name__
    if to_gpu and kwargs.get("generator") is not None:
        raise RuntimeError(f"{name} expects a generator of cuda, not of cpu")
    if operator in CROSSING and (not ours or operator is not ATEN.index.Tensor or leaves[0] is ours[0]):
        return
    # A single number may come from the processor.
    strangers = [leaf for leaf in leaves if not isinstance(leaf, OnGpu) and leaf.dim()]
    if ours and strangers:
        raise RuntimeError(f"{name} mixes cuda:0 and {strangers[0].device}")
