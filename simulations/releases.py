"""The federated model of a run as a file of its own: shared parameters and a manifest that says what they fit."""

from __future__ import annotations

from collections.abc import Sequence

from safetensors.numpy import save

from common.records import digest
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
