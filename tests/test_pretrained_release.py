"""A consortium that has not trained yet: the pretrained network as a signed release that hospitals can adopt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from common.errors import ConfigError, PhenofedError
from common.learning.assembly import ModelPool
from common.learning.plan import TrainingPlan
from common.models.specs import BackboneSpec
from common.releases.key_text import read_public
from common.releases.package import read_files
from common.releases.signing import verified
from common.storage import sha256_file
from server.releases import cli as release_cli
from server.releases.registry import ReleaseRegistry
from simulations.weights import THIN


def release(*arguments: object) -> Result:
    app = typer.Typer()
    app.callback()(lambda: None)
    release_cli.register(app)
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, ["release", *map(str, arguments)])


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    assert release("key", tmp_path / "registry", "--key-file", tmp_path / "release.key").exit_code == 0
    return tmp_path / "registry"


def test_the_pretrained_network_is_signed_as_it_came(registry):
    assert not release("pretrained", registry, "--backbone", THIN, "--architecture", "thin").exception
    held = ReleaseRegistry(registry)
    (listed,) = held.releases
    place = held.place(listed.id)
    found = verified(read_files(place), read_public(registry / "release.pub"), place)
    initial = ModelPool().initial(BackboneSpec(architecture="thin", path=THIN), TrainingPlan())
    assert found.parameters.keys() == initial.keys()
    assert all(np.array_equal(found.parameters[path], value) for path, value in initial.items())
    manifest = found.manifest
    assert (manifest.rounds, manifest.backbone.sha256, manifest.encoding.ensemble) == (0, sha256_file(THIN), False)
    assert manifest.origin is not None
    assert manifest.origin.purposes == ()
    assert "none: the pretrained network as it came" in (place / "card.md").read_text()


@pytest.mark.parametrize(
    "wrong",
    [
        ["--backbone", "/nowhere/net.onnx", "--architecture", "thin"],
        ["--backbone", THIN, "--architecture", "thinner"],
        ["--backbone", THIN, "--architecture", "thin", "--sha256", "0" * 64],
        ["--backbone", THIN, "--architecture", "thin", "--views", "3"],
        ["--backbone", THIN, "--architecture", "thin", "--normalisation", "none"],
    ],
)
def test_another_network_than_named_is_refused_and_nothing_is_listed(registry, wrong):
    error = release("pretrained", registry, *wrong).exception
    assert isinstance(error, PhenofedError)
    assert error.remedy
    assert not ReleaseRegistry(registry).releases


@pytest.mark.parametrize("name", ["a b", "../x", "", "x" * 80])
def test_a_name_that_is_no_name_of_a_folder_is_refused(registry, name):
    result = release("pretrained", registry, "--backbone", THIN, "--architecture", "thin", "--name", name)
    assert isinstance(result.exception, ConfigError)
