"""Backbones from files, checked before anything of them runs."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from common import storage
from common.errors import WeightsError
from common.models.architectures import build, default_dim, initialise
from common.models.backbone import Backbone
from common.models.manifest import Manifest, read_manifest
from common.models.specs import PRESETS, BackboneSpec, Normalisation
from common.models.state import read_state

MAX_BYTES = 2 << 30
LICENCE_NOTE = "insightface's weights and many others are for non-commercial research; check this file's licence"

_log = logging.getLogger("phenofed.models")


def load_backbone(spec: BackboneSpec, *, generator: torch.Generator | None = None) -> Backbone:
    """The backbone that ``spec`` describes, in evaluation mode, all parameters trainable as its file has them.

    Args:
        generator: for random weights, where ``spec`` names no path; the normalisation is then ``arcface`` unless
            declared, since there is nothing that it could contradict.

    Raises:
        WeightsError: nothing to load from; a file that is missing, altered, undeclared or does not fit.
    """
    path = spec.path
    if path is None:
        return _random(spec, generator)
    manifest = read_manifest(path) if spec.architecture != "onnx" else None
    content = _read(path)
    spec = _declared(spec, path, storage.sha256_bytes(content), manifest)
    origin = str(path)
    if spec.architecture == "onnx":
        from common.models.onnx_network import read_onnx

        network, dim = read_onnx(content, origin=origin)
        if spec.embedding_dim not in (None, dim):
            raise WeightsError(
                f"{origin} gives embeddings of length {dim}, not {spec.embedding_dim}",
                remedy=f"set embedding_dim={dim} or leave it out",
            )
    else:
        dim = spec.embedding_dim or default_dim(spec.architecture)
        network = build(spec.architecture, dim)
        network.load_state_dict(read_state(content, network.state_dict(), origin=origin), assign=True)
    if manifest is None:
        _log.warning("%s: %s", path.name, LICENCE_NOTE)
    return Backbone(network, spec=spec, embedding_dim=dim).eval()


def _random(spec: BackboneSpec, generator: torch.Generator | None) -> Backbone:
    if generator is None or spec.architecture == "onnx":
        raise WeightsError(
            f"no weights are named for the {spec.architecture} backbone", remedy="set backbone.path"
        )
    dim = spec.embedding_dim or default_dim(spec.architecture)
    network = initialise(build(spec.architecture, dim), generator)
    if spec.normalisation is None:
        spec = spec.model_copy(update={"normalisation": Normalisation(**PRESETS["arcface"])})
    return Backbone(network, spec=spec, embedding_dim=dim).eval()


def _read(path: Path) -> bytes:
    """The whole file, once: what is hashed is what is loaded."""
    try:
        if path.exists() and not path.is_file():
            raise WeightsError(f"the weights {path} are no regular file", remedy="set backbone.path to the file")
        if path.stat().st_size > MAX_BYTES:
            raise WeightsError(f"{path} is larger than {MAX_BYTES >> 30} GiB", remedy="is this the file?")
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"cannot read the weights {path} ({error.strerror})", remedy="set backbone.path to the file"
        ) from error


def _declared(spec: BackboneSpec, path: Path, found: str, manifest: Manifest | None) -> BackboneSpec:
    """``spec`` completed from the manifest, after checking that the two and the file agree."""
    problems, remedies = [], []
    for key, actual in (("sha256", found), *_of(manifest)):
        said = getattr(spec, key)
        if said is not None and said != actual:
            problems.append(f"{key} is {_short(actual)}, not {_short(said)} as declared")
            remedies.append("get the file again, or declare what it is")
    if manifest and manifest.sha256 != found:
        problems.append(f"sha256 is {_short(found)}, not {_short(manifest.sha256)} as in its manifest")
        remedies.append("get the file and its manifest again")
    if manifest is None:
        if spec.sha256 is None:
            problems.append("no sha256 is declared")
            remedies.append(f"set backbone.sha256={found} if you trust the file")
        if spec.normalisation is None:
            problems.append("no normalisation is declared")
            remedies.append(f"set backbone.normalisation to {' or '.join(PRESETS)}, or to mean, std and channels")
    if problems:
        raise WeightsError(f"{path}: {'; '.join(problems)}", remedy="; ".join(dict.fromkeys(remedies)))
    return spec.model_copy(update={"sha256": found, **dict(_of(manifest))})


def _of(manifest: Manifest | None) -> list[tuple[str, object]]:
    if manifest is None:
        return []
    return [(key, getattr(manifest, key)) for key in ("architecture", "embedding_dim", "normalisation")]


def _short(value: object) -> str:
    if isinstance(value, Normalisation):
        return f"mean {value.mean} std {value.std} {value.channels}"
    text = str(value)
    return f"{text[:16]}..." if len(text) == 64 else text
