"""Tensors out of a weights file that nobody has to trust: names, shapes and sizes are checked before use.

Torch checkpoints are read with ``weights_only=True``, after a look at their pickle: it may name nothing but plain
tensors and dictionaries. A first pass on torch's meta device gives names, shapes and storage sizes without
allocating anything; only then are bytes turned into tensors.
"""

from __future__ import annotations

import io
import pickletools
import re
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from common.errors import WeightsError

NESTED = ("state_dict_backbone", "state_dict")
MAX_PICKLE = 4 << 20
MAX_NAMED = 6

# bytearray, for one, is harmless code to torch and can still ask for any amount of memory.
_ALLOWED = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_(tensor_v2|parameter)|torch \w+Storage|torch Size"
)


def read_state(content: bytes, expected: Mapping[str, Tensor], *, origin: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file or torch checkpoint, as float32 (integers as they are), fit for loading.

    insightface's checkpoints are understood: nested under ``state_dict_backbone`` or ``state_dict``, and with
    ``module.`` before each name.

    Args:
        expected: names with tensors of the right shape (on any device); names and shapes must match exactly.
        origin: what messages call the file.

    Raises:
        WeightsError: not such a file, or it does not fit; every problem in one message.
    """
    is_zip = content[:4] == b"PK\x03\x04"
    if is_zip:
        _check_archive(content, origin)
        outline = _flatten(_load(content, "meta", origin), origin)
        _check(outline, expected, origin)
        tensors = _flatten(_load(content, "cpu", origin), origin)
    else:
        tensors = _load_safetensors(content, origin)
        _check(tensors, expected, origin)
    result = {
        name: (tensor.float() if tensor.is_floating_point() else tensor).detach().clone().contiguous()
        for name, tensor in tensors.items()
    }
    check_finite(result.items(), origin=origin)
    return result


def check_finite(tensors: Iterable[tuple[str, Tensor]], *, origin: str) -> None:
    """Raise WeightsError, naming them, if any tensor holds NaN or infinity."""
    broken = [name for name, tensor in tensors if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise WeightsError(f"{origin} holds NaN or infinity in {_some(broken)}", remedy="get the file again")


def _check_archive(content: bytes, origin: str) -> None:
    remedy = "save the state dict alone again, with torch.save of torch 1.6 or later"
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            pickles = [entry for entry in entries if entry.filename.endswith("data.pkl")]
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise WeightsError(f"{origin} holds compressed records", remedy=remedy)
            if len(pickles) != 1 or pickles[0].file_size > MAX_PICKLE:
                raise WeightsError(f"{origin} is no torch checkpoint", remedy=remedy)
            named = _globals(archive.read(pickles[0]))
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError) as error:
        raise WeightsError(f"{origin} is damaged ({error})", remedy="get the file again") from error
    foreign = sorted(name for name in named if not _ALLOWED.fullmatch(name))
    if foreign:
        raise WeightsError(f"{origin} holds more than tensors: {_some(foreign)}", remedy=remedy)


def _globals(pickled: bytes) -> set[str]:
    """What a pickle names, as "module name"; names that it puts together while running count as "?"."""
    return {
        str(argument) if operation.name == "GLOBAL" else "?"
        for operation, argument, _ in pickletools.genops(pickled)
        if operation.name in ("GLOBAL", "STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4")
    }


def _load(content: bytes, device: str, origin: str) -> Any:
    try:
        return torch.load(io.BytesIO(content), map_location=device, weights_only=True)
    except Exception as error:  # torch raises many kinds here, and each means the same
        raise WeightsError(
            f"{origin} cannot be read as tensors ({_first_line(error)})",
            remedy="save the state dict alone again, with torch.save",
        ) from error


def _load_safetensors(content: bytes, origin: str) -> dict[str, Tensor]:
    import safetensors
    from safetensors.torch import load

    try:
        return load(content)
    except (safetensors.SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise WeightsError(
            f"{origin} is neither safetensors nor a torch checkpoint ({_first_line(error)})",
            remedy="name the right file; for ONNX set architecture=onnx; save what torch before 1.6 wrote again",
        ) from error


def _flatten(data: Any, origin: str) -> dict[str, Tensor]:
    for key in NESTED:
        if isinstance(data, dict) and isinstance(data.get(key), dict):
            data = data[key]
            break
    if not isinstance(data, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in data.items()
    ):
        raise WeightsError(
            f"{origin} holds no dictionary of tensors", remedy=f"save it plain, or under '{NESTED[0]}'"
        )
    return {name.removeprefix("module."): tensor for name, tensor in data.items()}


def _check(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], origin: str) -> None:
    problems = []
    if missing := [name for name in expected if name not in found]:
        problems.append(f"lacks {_some(missing)}")
    if unexpected := [name for name in found if name not in expected]:
        problems.append(f"has no use for {_some(unexpected)}")
    common = [name for name in expected if name in found]
    if shapes := [
        f"{name} {tuple(found[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in common
        if found[name].shape != expected[name].shape
    ]:
        problems.append(f"other shapes: {_some(shapes)}")
    if kinds := [name for name in common if found[name].is_floating_point() != expected[name].is_floating_point()]:
        problems.append(f"other number types: {_some(kinds)}")
    if hollow := [name for name, tensor in found.items() if not _backed(tensor)]:
        problems.append(f"fewer bytes than elements in {_some(hollow)}")
    if problems:
        raise WeightsError(
            f"{origin} does not fit the architecture: {'; '.join(problems)}",
            remedy="name the architecture and embedding_dim that the file was made for",
        )


def _backed(tensor: Tensor) -> bool:
    return tensor.layout == torch.strided and (
        tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()
    )


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:MAX_NAMED])
    return f"{shown} and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else shown


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__
