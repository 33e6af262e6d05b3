"""The federated model of a run as a file of its own: shared parameters and a manifest of what they fit."""

from __future__ import annotations

import json
from collections.abc import Sequence

from safetensors import SafetensorError
from safetensors.numpy import load, save

from common.errors import RunError
from common.records import Parameters, digest
from common.storage import sha256_bytes, write_bytes, write_json
from simulations.folder import RunFolder
from simulations.modes import Trained
from simulations.scenario import Scenario

VERSION = 1


def write(folder: RunFolder, scenario: Scenario, trained: Sequence[Trained]) -> None:
    """Write ``releases/federated.safetensors`` and its manifest, where a federated model was trained."""
    for item in trained:
        if item.mode != "federated":
            continue
        content = save(dict(item.parameters))
        write_bytes(folder.path / "releases" / "federated.safetensors", content)
        write_json(
            folder.path / "releases" / "federated.manifest.json",
            {
                "version": VERSION,
                "scenario": scenario.name,
                "seed": scenario.seed,
                "rounds": len(item.history),
                "backbone": scenario.backbone.model_dump(mode="json", exclude={"path"}),
                "training": scenario.training.model_dump(mode="json"),
                "parameters_digest": digest(item.parameters),
                "sha256": sha256_bytes(content),
                "signed": False,
            },
        )


def read(folder: RunFolder) -> Parameters:
    """The released shared parameters, checked against their manifest.

    Raises:
        RunError: the run released no model, or its files are altered.
    """
    path = folder.path / "releases" / "federated.safetensors"
    try:
        content = path.read_bytes()
        expected = json.loads(path.with_suffix(".manifest.json").read_text())["sha256"]
    except OSError as error:
        raise RunError(f"{folder.path} has no federated model", remedy="run the federated mode") from error
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"the manifest of {path} is damaged", remedy="repeat with --resume") from error
    if sha256_bytes(content) != expected:
        raise RunError(f"{path} was altered", remedy=f"repeat with --resume {folder.path}")
    try:
        return load(content)
    except SafetensorError as error:
        raise RunError(f"{path} is damaged", remedy=f"repeat with --resume {folder.path}") from error
