"""What several tests share: one small finished run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from simulations.running import Run, run
from simulations.scenario import Scenario, load_scenario
from tests.consortium_folder import NAMES, copy_consortium, make_consortium

# Small enough for seconds, large enough for every part: four silos, rare syndromes, all modes, encryption.
TINY = [
    "cohort.spec.patients=60",
    "cohort.spec.syndromes=5",
    "cohort.spec.rare_share=0.4",
    "training.rounds=2",
    "training.trainable_fraction=0",
    "training.cached_views=2",
    "encryption.enabled=true",
    "encryption.queries=4",
    "ranking.views=2",
    "threads=1",
]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Parallel test processes on few cores lose more by threads than they win."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny() -> Scenario:
    return load_scenario("smoke", overrides=TINY)


@pytest.fixture(scope="session")
def finished(tiny: Scenario, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The tiny scenario, run once. Tests read it and never write to its folder."""
    return run(tiny, tmp_path_factory.mktemp("runs") / "finished")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A consortium of four on disk, made once by the commands. Tests read it and never write to it."""
    folder = tmp_path_factory.mktemp("made")
    make_consortium(folder, NAMES)
    return folder


@pytest.fixture
def consortium(made: Path, tmp_path: Path) -> Path:
    """A copy of the consortium of four that a test may change."""
    return copy_consortium(made, tmp_path / "consortium")
