"""The pretrained network itself as a model of no rounds: what a consortium ranks with before it has trained."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from common.errors import ConfigError, WeightsError
from common.learning.assembly import ModelPool
from common.learning.plan import TrainingPlan
from common.models.specs import BackboneSpec
from common.releases.bare import read_release, write_release
from common.releases.facts import CardFacts
from common.releases.manifest import RELEASE_ID, Encoding
from common.releases.release import Release
from common.storage import sha256_file

UNTOUCHED = CardFacts(data="none: the pretrained network as it came")
"""What its model card says. Nobody's photos were used, so that it serves no purpose of training."""


def pretrained_model(
    backbone: BackboneSpec,
    training: TrainingPlan,
    encoding: Encoding,
    *,
    name: str,
    seed: int = 0,
    device: str = "cpu",
) -> Release:
    """The network as it came, with the parameters that ``training`` would share.

    Args:
        name: where it comes from, the first part of its id.

    Raises:
        WeightsError: the backbone's file is missing, damaged, or another than its hash says.
        ConfigError: ``name`` does not fit.
    """
    if backbone.path is None:
        raise WeightsError("no backbone is named", remedy="give the file of a pretrained network")
    if not RELEASE_ID.fullmatch(f"{name}-{'0' * 12}"):
        raise ConfigError(f"'{name[:80]}' cannot begin a release's id", remedy="use letters, digits, '-' and '_'")
    initial = ModelPool(device).initial(backbone, training)
    if backbone.sha256 is None:
        backbone = backbone.model_copy(update={"sha256": sha256_file(backbone.path)})
    with TemporaryDirectory(prefix="phenofed-") as work:
        write_release(
            Path(work),
            {path: np.asarray(value) for path, value in initial.items()},
            scenario=name,
            seed=seed,
            rounds=0,
            backbone=backbone,
            training=training,
            # Nothing was learnt that the untouched network could be put beside.
            encoding=encoding.model_copy(update={"ensemble": False}),
        )
        return read_release(Path(work))
