"""Releases for the tests: a small model, a registry with a clock of its own, and a run that is finished."""

from __future__ import annotations

import datetime
import itertools
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from common.consortium.key_file import KeyFile
from common.learning.assembly import ModelPool
from common.learning.plan import TrainingPlan
from common.models.specs import BackboneSpec
from common.releases.bare import read_release, write_release
from common.releases.facts import CardFacts
from common.releases.manifest import Encoding, Origin
from common.releases.release import Release
from common.releases.signing import sign_release
from server.releases.key import make_key, open_key
from server.releases.publishing import publish
from server.releases.registry import Listed, ReleaseRegistry
from simulations.weights import THIN
from tests.report_run import make_run

NOON = datetime.datetime(2026, 6, 1, 12, tzinfo=datetime.UTC)
SECRET = KeyFile(bytes(32))
PLAN = TrainingPlan(trainable_fraction=0)


def write_model(folder: Path, *, rounds: int = 1, scenario: str = "trial") -> Release:
    """The shipped network, moved a little each round, as an unsigned release in ``folder``."""
    spec = BackboneSpec(architecture="thin", path=THIN)
    moved = {k: np.asarray(v + np.float32(1e-3 * rounds)) for k, v in ModelPool().initial(spec, PLAN).items()}
    encoding = Encoding(views=1, ensemble=False)
    write_release(
        folder,
        moved,
        scenario=scenario,
        seed=0,
        rounds=rounds,
        backbone=spec,
        training=PLAN,
        encoding=encoding,
    )
    return read_release(folder)


def signed(model: Release, key: Ed25519PrivateKey, *, number: int = 1) -> dict[str, bytes]:
    """The files of a signed release."""
    origin = Origin(name="trial", number=number, created=NOON, software="0.1.0", protocol=1)
    return sign_release(model, origin, "# Model card\n", key)


def write_files(files: dict[str, bytes], folder: Path) -> Path:
    """``folder`` with these files in it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def make_registry(folder: Path) -> ReleaseRegistry:
    """An empty registry with a key; each look at its clock is a minute later."""
    make_key(folder, SECRET, None)
    ticks = itertools.count()
    return ReleaseRegistry(folder, now=lambda: NOON + datetime.timedelta(minutes=next(ticks)))


def publish_model(registry: ReleaseRegistry, model: Release) -> Listed:
    """List a model as a candidate."""
    return publish(registry, model, CardFacts(), open_key(registry.folder, SECRET))


def make_finished_run(folder: Path) -> Path:
    """A run with results, predictions, a cohort and a federated model."""
    make_run(folder)
    write_model(folder / "releases", scenario="sample")
    return folder
