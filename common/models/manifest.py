"""Our own weights: safetensors with a manifest beside them that holds the hash and what belongs to them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from torch import Tensor

from common import storage
from common.config import Settings
from common.errors import WeightsError
from common.models.specs import Architecture, Normalisation

MAX_BYTES = 1 << 20


class Manifest(Settings):
    """What ``NAME.manifest.json`` says about ``NAME.safetensors``.

    ``origin`` tells how the weights came about: the command that makes them again, its seed, the renderer's hash.
    ``figures`` holds what was measured on them.
    """

    version: Literal[1] = 1
    file: str
    sha256: str
    architecture: Architecture
    embedding_dim: int
    normalisation: Normalisation
    origin: dict[str, Any] = Field(default_factory=dict)
    figures: dict[str, Any] = Field(default_factory=dict)


def manifest_path(weights: Path) -> Path:
    """Where the manifest of a weights file lies."""
    return weights.with_suffix(".manifest.json")


def read_manifest(weights: Path) -> Manifest | None:
    """The manifest beside ``weights``, or None where there is none.

    Raises:
        WeightsError: there is one, but it cannot be read or belongs to another file.
    """
    path = manifest_path(weights)
    if not path.is_file():
        return None
    remedy = "restore the manifest, or remove it and declare sha256 and normalisation"
    try:
        with path.open("rb") as file:
            manifest = Manifest.model_validate(json.loads(file.read(MAX_BYTES)))
    except OSError as error:
        raise WeightsError(f"cannot read {path} ({error.strerror})", remedy=remedy) from error
    except ValidationError as error:
        keys = sorted({".".join(map(str, problem["loc"])) for problem in error.errors()})
        raise WeightsError(f"{path} does not fit at {', '.join(keys)}", remedy=remedy) from error
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path} is no JSON", remedy=remedy) from error
    if manifest.file != weights.name:
        raise WeightsError(f"{path} belongs to {manifest.file}, not {weights.name}", remedy=remedy)
    return manifest


def save_weights(
    weights: Path,
    state: Mapping[str, Tensor],
    *,
    architecture: Architecture,
    embedding_dim: int,
    normalisation: Normalisation,
    origin: Mapping[str, Any] | None = None,
    figures: Mapping[str, Any] | None = None,
) -> Manifest:
    """Write ``state`` as safetensors and its manifest beside it, each atomically, the manifest last.

    The same state gives the same bytes. Precision is kept; cast before for smaller files.

    Raises:
        RunError: the folder cannot be written.
    """
    from safetensors.torch import save

    content = save({name: tensor.detach().contiguous() for name, tensor in sorted(state.items())})
    manifest = Manifest(
        file=weights.name,
        sha256=storage.sha256_bytes(content),
        architecture=architecture,
        embedding_dim=embedding_dim,
        normalisation=normalisation,
        origin=dict(origin or {}),
        figures=dict(figures or {}),
    )
    storage.write_bytes(weights, content)
    storage.write_json(manifest_path(weights), manifest.model_dump(mode="json"))
    return manifest
