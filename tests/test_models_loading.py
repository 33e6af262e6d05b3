"""Weights load when they are what was declared; otherwise one message says everything that is wrong."""

from __future__ import annotations

import json
import logging

import pytest
import torch
from safetensors.torch import save_file

from common.config import parse
from common.errors import ConfigError, WeightsError
from common.models.architectures import build, initialise
from common.models.loading import load_backbone
from common.models.manifest import manifest_path, read_manifest, save_weights
from common.models.specs import PRESETS, BackboneSpec, Normalisation
from common.storage import sha256_file

ARCFACE = Normalisation(**PRESETS["arcface"])


def weights(name: str = "thin", dim: int = 128, seed: int = 0) -> dict[str, torch.Tensor]:
    return initialise(build(name, dim), torch.Generator().manual_seed(seed)).state_dict()


def spec_for(path, **changes) -> BackboneSpec:
    fields = {"architecture": "thin", "path": path, "sha256": sha256_file(path), "normalisation": "arcface"}
    return BackboneSpec(**{**fields, **changes})


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "backbone.pth"
    torch.save(weights(), path)
    return path


def same(backbone, state) -> bool:
    own = backbone.network.state_dict()
    return set(own) == set(state) and all(torch.equal(own[key], value) for key, value in state.items())


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict_backbone": state, "epoch": 3, "state_optimizer": {"lr": 0.1}},
        lambda state: {"state_dict": state},
        lambda state: {f"module.{key}": value for key, value in state.items()},
    ],
    ids=["flat", "insightface checkpoint", "state_dict", "data parallel"],
)
def test_torch_checkpoints_load_in_the_usual_wrappings(tmp_path, wrap):
    path = tmp_path / "backbone.pth"
    torch.save(wrap(weights()), path)
    assert same(load_backbone(spec_for(path)), weights())


def test_an_insightface_iresnet_loads_strictly(tmp_path):
    path = tmp_path / "backbone.pth"
    state = weights("iresnet18", 512)
    torch.save(state, path)
    backbone = load_backbone(spec_for(path, architecture="iresnet18"))
    assert same(backbone, state)
    assert not backbone.training
    assert backbone.spec.sha256 == sha256_file(path)


def test_half_precision_files_give_a_float32_network(tmp_path):
    path = tmp_path / "half.pth"
    torch.save({k: v.half() if v.is_floating_point() else v for k, v in weights().items()}, path)
    backbone = load_backbone(spec_for(path))
    assert {p.dtype for p in backbone.parameters()} == {torch.float32}
    assert backbone(torch.zeros(1, 3, 112, 112)).dtype == torch.float32


def test_plain_safetensors_load_with_declared_hash(tmp_path):
    path = tmp_path / "plain.safetensors"
    save_file(weights(), path)
    assert same(load_backbone(spec_for(path)), weights())


def test_loading_leaves_torchs_random_state_alone(checkpoint):
    before = torch.random.get_rng_state()
    load_backbone(spec_for(checkpoint))
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_foreign_file_brings_a_licence_note_and_ours_does_not(checkpoint, tmp_path, caplog):
    own = tmp_path / "thin.safetensors"
    save_weights(own, weights(), architecture="thin", embedding_dim=128, normalisation=ARCFACE)
    with caplog.at_level(logging.WARNING, logger="phenofed.models"):
        load_backbone(BackboneSpec(architecture="thin", path=own))
        assert not caplog.records
        load_backbone(spec_for(checkpoint))
    assert [record.getMessage() for record in caplog.records if "non-commercial" in record.getMessage()]


def test_missing_file_is_named(tmp_path):
    spec = BackboneSpec(architecture="thin", path=tmp_path / "none.pth", sha256="0" * 64, normalisation="arcface")
    with pytest.raises(WeightsError, match=r"none\.pth.*backbone\.path"):
        load_backbone(spec)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(WeightsError, match="no regular file"):
        load_backbone(BackboneSpec(architecture="thin", path=tmp_path, sha256="0" * 64, normalisation="arcface"))


def test_an_endless_device_is_no_file():
    with pytest.raises(WeightsError, match="no regular file"):
        load_backbone(
            BackboneSpec(architecture="onnx", path="/dev/zero", sha256="0" * 64, normalisation="arcface")
        )


def test_wrong_hash_is_refused(checkpoint):
    with pytest.raises(WeightsError, match=r"sha256 is .* as declared"):
        load_backbone(spec_for(checkpoint, sha256="0" * 64))


def test_undeclared_hash_and_normalisation_are_both_asked_for(checkpoint):
    with pytest.raises(WeightsError) as caught:
        load_backbone(BackboneSpec(architecture="thin", path=checkpoint))
    assert "no sha256" in caught.value.what
    assert "no normalisation" in caught.value.what
    assert sha256_file(checkpoint) in caught.value.remedy


def test_all_misfits_are_listed_in_one_message(tmp_path):
    path = tmp_path / "backbone.pth"
    state = weights()
    del state["conv1.weight"]
    state["extra"] = torch.zeros(2)
    state["fc.bias"] = torch.zeros(7)
    state["bn1.weight"] = torch.zeros(16, dtype=torch.int64)
    torch.save(state, path)
    with pytest.raises(WeightsError) as caught:
        load_backbone(spec_for(path))
    for part in ("lacks conv1.weight", "no use for extra", "fc.bias (7,) instead of (128,)", "bn1.weight"):
        assert part in caught.value.what


def test_another_architecture_is_a_short_message(checkpoint):
    with pytest.raises(WeightsError, match=r"and \d+ more") as caught:
        load_backbone(spec_for(checkpoint, architecture="mobilefacenet"))
    assert len(str(caught.value)) < 2000
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path, value):
    path = tmp_path / "backbone.pth"
    state = weights()
    state["layer1.0.conv1.weight"][0, 0, 0, 0] = value
    torch.save(state, path)
    with pytest.raises(WeightsError, match=r"NaN or infinity in layer1\.0\.conv1\.weight"):
        load_backbone(spec_for(path))


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"normalisation": "vgg"}, "arcface"),
        ({"normalisation": {"mean": [0, 0, 0], "std": [1, 0, 1], "channels": "RGB"}}, "above 0"),
        ({"normalisation": {"mean": [0, 0, 0], "std": [1, 1, 1]}}, "channels"),
        ({"sha256": "abc"}, "sha256"),
        ({"architecture": "resnet"}, "iresnet18"),
        ({"weights": "x"}, "unknown key 'weights'"),
    ],
)
def test_bad_settings_are_configuration_errors(changes, part):
    with pytest.raises(ConfigError, match=part):
        parse({"architecture": "thin", **changes}, BackboneSpec, origin="scenario.yaml")


def test_our_weights_bring_hash_size_and_normalisation(tmp_path):
    path = tmp_path / "thin.safetensors"
    made = save_weights(
        path, weights(dim=32), architecture="thin", embedding_dim=32, normalisation=ARCFACE, figures={"auc": 0.9}
    )
    backbone = load_backbone(BackboneSpec(architecture="thin", path=path))
    assert same(backbone, weights(dim=32))
    assert backbone.spec.normalisation == ARCFACE
    assert (backbone.spec.sha256, backbone.embedding_dim) == (made.sha256, 32)
    assert read_manifest(path) == made


def test_saving_twice_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save_weights(
            tmp_path / name / "w.safetensors",
            weights(),
            architecture="thin",
            embedding_dim=128,
            normalisation=ARCFACE,
        )
    assert sha256_file(tmp_path / "a/w.safetensors") == sha256_file(tmp_path / "b/w.safetensors")
    assert manifest_path(tmp_path / "a/w.safetensors").name == "w.manifest.json"


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"sha256": "1" * 64}, "as in its manifest"),
        ({"file": "other.safetensors"}, "belongs to other"),
        ({"embedding_dim": "many"}, "embedding_dim"),
        ({"architecture": "mobilefacenet"}, "architecture"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(tmp_path, change, part):
    path = tmp_path / "thin.safetensors"
    save_weights(path, weights(), architecture="thin", embedding_dim=128, normalisation=ARCFACE)
    manifest = json.loads(manifest_path(path).read_text())
    manifest_path(path).write_text(json.dumps({**manifest, **change}))
    with pytest.raises(WeightsError, match=part):
        load_backbone(BackboneSpec(architecture="thin", path=path))


def test_a_damaged_manifest_is_refused(tmp_path):
    path = tmp_path / "thin.safetensors"
    save_weights(path, weights(), architecture="thin", embedding_dim=128, normalisation=ARCFACE)
    manifest_path(path).write_text("{")
    with pytest.raises(WeightsError, match="no JSON"):
        load_backbone(BackboneSpec(architecture="thin", path=path))


def test_declaring_another_normalisation_than_the_manifest_is_refused(tmp_path):
    path = tmp_path / "thin.safetensors"
    save_weights(path, weights(), architecture="thin", embedding_dim=128, normalisation=ARCFACE)
    with pytest.raises(WeightsError, match="normalisation is"):
        load_backbone(BackboneSpec(architecture="thin", path=path, normalisation="imagenet"))
