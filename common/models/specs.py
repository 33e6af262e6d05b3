"""Which backbone a run uses and where it runs, as settings: architecture, file, hash, normalisation, device."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator

from common.config import Settings

Architecture = Literal["thin", "iresnet18", "iresnet34", "iresnet50", "iresnet100", "mobilefacenet", "onnx"]

# Means and deviations of x/255. insightface's (x - 127.5) / 127.5 is 0.5 and 0.5 here.
PRESETS: dict[str, dict[str, Any]] = {
    "arcface": {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "channels": "RGB"},
    "imagenet": {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "channels": "RGB"},
}


_DEVICE = re.compile(r"auto|cpu|cuda(:(0|[1-9][0-9]{0,2}))?", re.ASCII)


def check_device(name: str) -> str:
    """``name`` again.

    Raises:
        ValueError: none of auto, cpu, cuda and cuda:N.
    """
    if not _DEVICE.fullmatch(name):
        raise ValueError(f"'{name}' is none of auto, cpu, cuda and cuda:N")
    return name


Device = Annotated[str, AfterValidator(check_device)]


class Normalisation(Settings):
    """What a network was trained on: ``(x / 255 - mean) / std`` for each channel.

    ``mean`` and ``std`` stand in the order that ``channels`` names. In settings, ``arcface`` and ``imagenet`` are
    short for the usual ones.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    channels: Literal["RGB", "BGR"]

    @field_validator("mean", "std")
    @classmethod
    def _finite(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if not all(math.isfinite(value) for value in values):
            raise ValueError("must be finite numbers, of x/255")
        return values

    @field_validator("std")
    @classmethod
    def _positive(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if min(values) <= 0:
            raise ValueError("must be above 0")
        return values


def _preset(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value not in PRESETS:
        raise ValueError(f"'{value}' is none of {', '.join(PRESETS)}; or give mean, std and channels")
    return PRESETS[value]


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


class BackboneSpec(Settings):
    """A backbone by architecture and, for pretrained ones, by file.

    | key | meaning |
    |---|---|
    | architecture | thin, iresnet18, iresnet34, iresnet50, iresnet100, mobilefacenet, or onnx |
    | path | the weights: safetensors, a torch checkpoint, or an ONNX file |
    | sha256 | the file's hash; required unless a manifest of ours lies beside the file |
    | normalisation | arcface, imagenet, or mean, std (of x/255) and channels; likewise required |
    | embedding_dim | length of the embedding; by default the architecture's, for onnx what the file gives |
    """

    architecture: Architecture
    path: Path | None = None
    sha256: Annotated[str, BeforeValidator(_lower), Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    normalisation: Annotated[Normalisation, BeforeValidator(_preset)] | None = None
    embedding_dim: int | None = Field(default=None, ge=1, le=4096)
