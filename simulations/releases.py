"""The federated model of a run as a release: what a silo can adopt and a clinic can rank with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from common.errors import RunError, WeightsError
from common.releases.bare import read_release, write_release
from common.releases.manifest import Encoding
from common.releases.release import Release
from common.storage import sha256_file
from simulations.folder import RunFolder
from simulations.modes import Trained
from simulations.scenario import Scenario


def write(folder: RunFolder, scenario: Scenario, trained: Sequence[Trained]) -> None:
    """Write the release of the federated model, where one was trained."""
    backbone = scenario.backbone
    if backbone.path is not None and backbone.sha256 is None:
        backbone = backbone.model_copy(update={"sha256": sha256_file(backbone.path)})
    for item in trained:
        if item.mode == "federated":
            write_release(
                release_folder(folder),
                item.parameters,
                scenario=scenario.name,
                seed=scenario.seed,
                rounds=len(item.history),
                backbone=backbone,
                training=scenario.training,
                encoding=Encoding(
                    views=scenario.ranking.views,
                    ensemble=scenario.ranking.ensemble,
                    untouched_share=scenario.ranking.untouched_share,
                ),
            )


def read(folder: RunFolder) -> Release:
    """The run's release.

    Raises:
        RunError: the run released no model, or its files are altered.
    """
    try:
        return read_release(release_folder(folder))
    except WeightsError as error:
        remedy = f"run the federated mode, or repeat with --resume {folder.path}"
        raise RunError(error.what, remedy=remedy) from error


def release_folder(folder: RunFolder) -> Path:
    """Where a run keeps its release."""
    return folder.path / "releases"
