"""Our networks have the published layouts, and nothing but the given generator decides random weights."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from common.errors import WeightsError
from common.models.architectures import build, initialise
from common.models.iresnet import IResNet
from common.models.loading import load_backbone
from common.models.specs import BackboneSpec, Normalisation


def thin(seed: int = 0, **changes):
    spec = BackboneSpec(architecture="thin", **changes)
    return load_backbone(spec, generator=torch.Generator().manual_seed(seed))


def crops(count: int = 3) -> torch.Tensor:
    return torch.randint(
        0, 256, (count, 3, 112, 112), dtype=torch.uint8, generator=torch.Generator().manual_seed(5)
    )


@pytest.mark.parametrize(
    ("name", "keys", "millions"),
    [
        ("iresnet18", 187, 24.0),
        ("iresnet34", 331, 34.1),
        ("iresnet50", 475, 43.6),
        ("iresnet100", 925, 65.2),
        ("mobilefacenet", 333, 2.06),
    ],
)
def test_layouts_have_the_published_keys_and_sizes(name, keys, millions):
    network = build(name, 512)
    assert len(network.state_dict()) == keys
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, rel=0.01)


def test_key_names_are_insightfaces():
    keys = set(build("iresnet18", 512).state_dict())
    assert {"conv1.weight", "bn1.running_mean", "prelu.weight", "layer1.0.downsample.0.weight"} <= keys
    assert {"layer4.1.bn3.num_batches_tracked", "bn2.bias", "fc.weight", "features.running_var"} <= keys
    mobile = set(build("mobilefacenet", 512).state_dict())
    assert {"layers.0.layers.0.weight", "layers.3.layers.3.layers.1.layers.2.weight"} <= mobile
    assert {
        "conv_sep.layers.1.running_mean",
        "features.layers.0.layers.0.weight",
        "features.layers.3.bias",
    } <= mobile


@pytest.mark.parametrize(("name", "dim"), [("thin", 128), ("mobilefacenet", 64)])
def test_features_are_float32_and_as_long_as_promised(name, dim):
    spec = BackboneSpec(architecture=name, embedding_dim=dim)
    backbone = load_backbone(spec, generator=torch.Generator().manual_seed(0))
    features = backbone(crops())
    assert features.shape == (3, dim)
    assert features.dtype == torch.float32
    assert backbone.embedding_dim == backbone.spec.embedding_dim == dim


def test_random_weights_come_from_the_generator_alone():
    before = torch.random.get_rng_state()
    first, again, other = thin(1), thin(1), thin(2)
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(first(crops()), again(crops()))
    assert not torch.equal(first(crops()), other(crops()))


def test_uint8_and_float_crops_give_the_same_features():
    backbone = thin()
    assert torch.equal(backbone(crops()), backbone(crops().float()))


def test_normalisation_and_channel_order_are_applied():
    rgb = thin(normalisation=Normalisation(mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7), channels="RGB"))
    bgr = thin(normalisation=Normalisation(mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7), channels="BGR"))
    mean, std = torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1), torch.tensor([0.5, 0.6, 0.7]).view(1, 3, 1, 1)
    with torch.no_grad():
        expected = rgb.network((crops().float() / 255 - mean) / std)
        assert torch.allclose(rgb(crops()), expected, atol=1e-4)
        assert torch.equal(bgr(crops().flip(1)), rgb(crops()))
        assert not torch.allclose(bgr(crops()), rgb(crops()), atol=1e-2)


def test_normalisation_is_no_part_of_the_weights():
    assert set(thin().state_dict()) == {f"network.{key}" for key in build("thin", 128).state_dict()}


def test_wrong_crop_size_is_refused():
    with pytest.raises(ValueError, match="112"):
        thin()(torch.zeros(1, 3, 96, 96))


def test_stages_come_in_the_order_of_computation():
    backbone = thin()
    called = []
    for module in backbone.stages():
        module.register_forward_hook(lambda module, *_: called.append(module))
    backbone(crops(1))
    assert called == backbone.stages()
    owned = sum(p.numel() for module in backbone.stages() for p in module.parameters(recurse=False))
    assert owned == sum(p.numel() for p in backbone.parameters())


def test_widths_that_crash_torch_are_refused():
    with pytest.raises(ValueError, match="16"):
        IResNet((1, 1, 1, 1), width=8)


def test_nothing_to_load_from_is_said():
    with pytest.raises(WeightsError, match=r"backbone\.path"):
        load_backbone(BackboneSpec(architecture="iresnet18"))


def test_an_unknown_layer_is_not_left_uninitialised():
    with pytest.raises(TypeError, match="LayerNorm"):
        initialise(torch.nn.LayerNorm(3), torch.Generator())


def test_an_iresnet_computes_what_the_paper_draws():
    """Written a second time, from the state dict alone."""
    backbone = thin(4, embedding_dim=16)
    state = scrambled(backbone.network)

    def norm(x, name):
        keys = ("running_mean", "running_var", "weight", "bias")
        return functional.batch_norm(x, *(state[f"{name}.{key}"] for key in keys), eps=1e-5)

    def conv(x, name, stride=1):
        weight = state[f"{name}.weight"]
        return functional.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)

    x = torch.randn(2, 3, 112, 112, generator=torch.Generator().manual_seed(6))
    with torch.no_grad():
        found = backbone.network(x)
        x = functional.prelu(norm(conv(x, "conv1", 2), "bn1"), state["prelu.weight"])
        for stage in range(1, 5):
            for block in range(2):
                at, stride = f"layer{stage}.{block}", 2 - block
                y = norm(conv(norm(x, f"{at}.bn1"), f"{at}.conv1"), f"{at}.bn2")
                y = norm(
                    conv(functional.prelu(y, state[f"{at}.prelu.weight"]), f"{at}.conv2", stride), f"{at}.bn3"
                )
                x = y + (x if block else norm(conv(x, f"{at}.downsample.0", 2), f"{at}.downsample.1"))
        x = functional.linear(norm(x, "bn2").flatten(1), state["fc.weight"], state["fc.bias"])
        assert torch.allclose(norm(x, "features"), found, atol=1e-4 * float(found.abs().max()))


def test_a_mobilefacenet_bottleneck_adds_its_input_only_where_the_shape_stays():
    network = initialise(build("mobilefacenet", 16), torch.Generator().manual_seed(0)).eval()
    images = torch.randn(1, 3, 112, 112, generator=torch.Generator().manual_seed(6))
    seen = {}
    for path in ("layers.2", "layers.3.layers.0"):
        module = network.get_submodule(path)
        module.register_forward_hook(lambda module, args, out, path=path: seen.update({path: (args[0], out)}))
    with torch.no_grad():
        network(images)
        x, out = seen["layers.3.layers.0"]
        assert torch.allclose(out, x + network.get_submodule("layers.3.layers.0").layers(x))
        x, out = seen["layers.2"]
        assert torch.allclose(out, network.get_submodule("layers.2").layers(x))
    assert out.shape == (1, 128, 28, 28)


def scrambled(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Statistics and slopes that are not the initial ones, so that a mistaken one shows."""
    generator = torch.Generator().manual_seed(8)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
            module.bias.data.normal_(generator=generator)
        elif isinstance(module, torch.nn.PReLU):
            module.weight.data.uniform_(0.0, 0.5, generator=generator)
    return network.state_dict()
