"""A bare release: a federated model as two files, unsigned, as simulations write and read it.

``federated.safetensors`` holds the shared parameters; ``federated.manifest.json`` says what they fit, and the
file's SHA-256. The backbone's own file never travels with a release: whoever uses one has it already, and its hash
is in the manifest.
"""

from __future__ import annotations

from pathlib import Path

from safetensors.numpy import save

from common.errors import WeightsError
from common.learning.plan import TrainingPlan
from common.models.specs import BackboneSpec
from common.records import Parameters, digest
from common.releases.manifest import (
    BARE_MANIFEST,
    BARE_PARAMETERS,
    MAX_MANIFEST,
    Encoding,
    Manifest,
    read_manifest,
)
from common.releases.release import MAX_MODEL, Release, loaded
from common.storage import sha256_bytes, write_bytes, write_json


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
        version=1,
        scenario=scenario,
        seed=seed,
        rounds=rounds,
        backbone=backbone.model_copy(update={"path": None}),
        training=training,
        encoding=encoding,
        parameters_digest=digest(parameters),
        sha256=sha256_bytes(content),
    )
    write_bytes(folder / BARE_PARAMETERS, content)
    write_json(folder / BARE_MANIFEST, manifest.model_dump(mode="json", exclude={"minor", "origin"}))


def holds_bare(folder: Path) -> bool:
    """Whether a bare release lies in ``folder``."""
    return (folder / BARE_MANIFEST).is_file()


def read_release(folder: Path) -> Release:
    """A bare release, checked against its manifest: whole, but vouched for by nobody.

    Raises:
        WeightsError: a file is missing, damaged or altered.
    """
    path = folder / BARE_PARAMETERS
    try:
        with path.open("rb") as weights, (folder / BARE_MANIFEST).open("rb") as about:
            content, head = weights.read(MAX_MODEL + 1), about.read(MAX_MANIFEST + 1)
    except OSError as error:
        raise WeightsError(f"{folder} holds no release", remedy="give the folder of a federated model") from error
    return loaded(content, read_manifest(head, folder / BARE_MANIFEST), path)
