"""``import torchvision`` beside a CPU-only torch.

The package registry's torchvision is linked against CUDA. Beside a CPU-only torch its native library does not
load, and its Python part then fails to import: it describes operators that nobody has declared. Declaring the two
is enough. They get no kernel: calling them still raises torchvision's own message that its operators are missing,
and nothing here needs them.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

import torch

_NAMESPACE = "torchvision"
_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_OPERATORS = ("nms", "qnms")


def mend() -> bool:
    """Make ``import torchvision`` work; call it before anything that imports torchvision, as often as you like.

    Returns:
        True if operators had to be declared, False where torchvision is absent or its library loads.
    """
    return _declarations() is not None


@cache
def _declarations() -> torch.library.Library | None:
    # The declarations last as long as this object, so the cache has to hold it.
    package = importlib.util.find_spec(_NAMESPACE)
    if package is None or not package.submodule_search_locations or _declared() or _native(package):
        return None
    library = torch.library.Library(_NAMESPACE, "FRAGMENT")  # type: ignore[no-untyped-call]
    for operator in _OPERATORS:
        library.define(operator + _SIGNATURE)  # type: ignore[no-untyped-call]
    return library


def _declared() -> bool:
    return all(hasattr(getattr(torch.ops, _NAMESPACE), operator) for operator in _OPERATORS)


def _native(package: importlib.machinery.ModuleSpec) -> bool:
    for folder in package.submodule_search_locations or ():
        for library in sorted(Path(folder).glob("_C*.so")) + sorted(Path(folder).glob("_C*.pyd")):
            try:
                torch.ops.load_library(library)  # type: ignore[no-untyped-call]
            except OSError:
                continue
            return _declared()
    return False
