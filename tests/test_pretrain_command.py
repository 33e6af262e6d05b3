"""``phenofed pretrain`` writes weights that load, tells how to make them again, and never destroys any."""

from __future__ import annotations

import typer
from typer.testing import CliRunner

from common.errors import ConfigError, RunError
from common.models.loading import load_backbone
from common.models.manifest import read_manifest
from common.models.specs import BackboneSpec
from simulations import pretrain, pretrain_quality
from simulations.pretrain_cli import make, register_pretrain

from .test_pretrain_backbone import TINY, Recorder

SETTINGS = [f"--set={key}={value}" for key, value in TINY.model_dump().items()]


def call(*arguments: str):
    app = typer.Typer()
    app.callback()(lambda: None)
    register_pretrain(app)
    return CliRunner().invoke(app, ["pretrain", *arguments])


def few(monkeypatch) -> None:
    monkeypatch.setattr(pretrain_quality, "PEOPLE", 4)


def test_the_command_writes_weights_that_load_and_tell_their_origin(tmp_path, monkeypatch):
    few(monkeypatch)
    done = call("--out", str(tmp_path), "--name", "small", "--seed", "3", *SETTINGS)
    assert done.exit_code == 0, done.output
    assert "AUC" in done.output
    path = tmp_path / "small.safetensors"
    manifest = read_manifest(path)
    assert manifest.origin["renderer_sha256"] == pretrain.renderer_hash()
    assert manifest.origin["seed"] == 3
    assert "--set people=6" in manifest.origin["command"]
    assert "--set margin" not in manifest.origin["command"]
    assert 0 <= manifest.figures["verification_auc"] <= 1
    assert load_backbone(BackboneSpec(architecture="thin", path=path)).embedding_dim == 16


def test_existing_weights_are_not_overwritten(tmp_path):
    (tmp_path / "thin.safetensors").write_bytes(b"precious")
    done = call("--out", str(tmp_path), *SETTINGS)
    assert isinstance(done.exception, RunError)
    assert (tmp_path / "thin.safetensors").read_bytes() == b"precious"


def test_an_interruption_writes_nothing(tmp_path):
    for stage in ("rendering people", "training"):
        try:
            make(TINY, 0, tmp_path / "thin.safetensors", Recorder(interrupt=stage))
        except KeyboardInterrupt:
            assert list(tmp_path.iterdir()) == []
        else:
            raise AssertionError("not interrupted")


def test_wrong_settings_and_names_are_refused(tmp_path):
    assert isinstance(call("--out", str(tmp_path), "--set", "peoples=3").exception, ConfigError)
    assert call("--out", str(tmp_path), "--name", "../x").exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_help_teaches():
    text = call("--help").output
    for word in ("--out", "--seed", "Examples", "photos_each", "Ctrl-C"):
        assert word in text
