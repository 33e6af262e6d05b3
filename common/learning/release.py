"""A release: a federated model as two files, and the encoder that a silo or a clinic makes of it.

``federated.safetensors`` holds the shared parameters; ``federated.manifest.json`` says which backbone and plan
they fit, how photos are encoded, and the file's SHA-256. The backbone's own file never travels with a release:
whoever uses one has it already, and its hash is in the manifest.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from common.config import Settings
from common.errors import WeightsError
from common.faces.views import VIEWS
from common.learning.assembly import ModelPool, write_shared
from common.learning.plan import TrainingPlan
from common.models.encoding import encode
from common.models.specs import BackboneSpec
from common.ranking.patients import Encodings
from common.records import Parameters, digest
from common.storage import sha256_bytes, write_bytes, write_json

VERSION: Literal[1] = 1
PARAMETERS = "federated.safetensors"
MANIFEST = "federated.manifest.json"
CHOSEN_VIEWS = {1: VIEWS[:1], 2: (VIEWS[0], VIEWS[2]), 4: VIEWS}
"""Test-time views by their number: as it is; with its mirror image; with both in grey too."""

_MAX_MANIFEST = 1 << 20


class Encoding(Settings):
    """How a release turns photos into embeddings; see simulations.scenario.Ranking."""

    views: Literal[1, 2, 4] = 2
    ensemble: bool = True
    untouched_share: float = 0.5


class Manifest(Settings):
    """What is known of a release. ``backbone`` has no path: each machine has its own."""

    version: Literal[1]
    scenario: str
    seed: int
    rounds: int
    backbone: BackboneSpec
    training: TrainingPlan
    encoding: Encoding = Encoding()
    parameters_digest: str
    sha256: str
    signed: bool = False


@dataclass(frozen=True)
class Release:
    """A release as read: its manifest and its shared parameters, which fit each other."""

    manifest: Manifest
    parameters: Parameters

    @property
    def name(self) -> str:
        """What people call it: where it comes from and the start of its hash."""
        return f"{self.manifest.scenario}-{self.digest[:12]}"

    @property
    def digest(self) -> str:
        """(64 hexadecimal digits) over everything that an embedding depends on, so that silos can compare."""
        content = self.manifest.model_dump(mode="json", include={"backbone", "training", "encoding", "sha256"})
        return sha256_bytes(json.dumps(content, sort_keys=True).encode())


def write_release(
    folder: Path,
    parameters: Parameters,
    *,
    scenario: str,
    seed: int,
    rounds: int,
    backbone: BackboneSpec,
    training: TrainingPlan,
    encoding: Encoding,
) -> None:
    """Write both files."""
    content = save(dict(parameters))
    manifest = Manifest(
        version=VERSION,
        scenario=scenario,
        seed=seed,
        rounds=rounds,
        backbone=backbone.model_copy(update={"path": None}),
        training=training,
        encoding=encoding,
        parameters_digest=digest(parameters),
        sha256=sha256_bytes(content),
    )
    write_bytes(folder / PARAMETERS, content)
    write_json(folder / MANIFEST, manifest.model_dump(mode="json"))


def read_release(folder: Path) -> Release:
    """A release, checked against its manifest.

    Raises:
        WeightsError: a file is missing, damaged or altered.
    """
    path = folder / PARAMETERS
    try:
        content, about = path.read_bytes(), (folder / MANIFEST).read_bytes()
    except OSError as error:
        raise WeightsError(f"{folder} holds no release", remedy="give the folder of a federated model") from error
    try:
        if len(about) > _MAX_MANIFEST:
            raise ValueError("too long")
        manifest = Manifest.model_validate_json(about)
    except (ValueError, ValidationError) as error:
        raise WeightsError(f"the manifest of {path} is damaged", remedy="fetch the release again") from error
    if sha256_bytes(content) != manifest.sha256:
        raise WeightsError(f"{path} was altered", remedy="fetch the release again")
    try:
        return Release(manifest, load(content))
    except SafetensorError as error:
        raise WeightsError(f"{path} is damaged", remedy="fetch the release again") from error


class ReleasedEncoder:
    """Photos to encodings by a release, beside the untouched network where the release says so; for any threads.

    Args:
        backbone: where this machine keeps the backbone's file; None for one without a file.
        pool: of models, whose device is used.

    Raises:
        WeightsError: the backbone's file is missing or another one than the release was trained from.
    """

    def __init__(self, release: Release, backbone: Path | None, pool: ModelPool | None = None) -> None:
        self.release = release
        spec = release.manifest.backbone.model_copy(update={"path": backbone})
        self._pool = pool or ModelPool()
        self._model = self._pool.model(spec, release.manifest.training)
        self._untouched = self._pool.initial(spec, release.manifest.training)
        # Both networks are one model in memory, whose parameters change.
        self._encoding = threading.Lock()

    @property
    def dimension(self) -> int:
        """Length of a patient's embedding: those of all networks, one after the other."""
        return int(self._model.backbone.embedding_dim) * (2 if self.release.manifest.encoding.ensemble else 1)  # type: ignore[arg-type]

    def encode(self, photo_ids: Sequence[str], crops: NDArray[np.uint8]) -> Encodings:
        """Encodings of crops (n, 112, 112, 3) uint8 RGB."""
        how = self.release.manifest.encoding
        views = CHOSEN_VIEWS[how.views]
        with self._encoding:
            write_shared(self._model, self.release.parameters)
            trained = encode(self._model, photo_ids, crops, views=views)
            if not how.ensemble:
                return trained
            write_shared(self._model, self._untouched)
            untouched = encode(self._model, photo_ids, crops, views=views)
        return trained.with_models_of(untouched, share=how.untouched_share)
