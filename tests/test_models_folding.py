"""Folding batch norm keeps the function and leaves no statistics."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from common.models.architectures import build, initialise
from common.models.folding import ChannelAffine, fold_batch_norm


def network(name: str = "thin") -> nn.Module:
    generator = torch.Generator().manual_seed(3)
    result = initialise(build(name, 32), generator)
    for module in result.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(generator=generator)
    return result.eval()


@pytest.mark.parametrize("name", ["thin", "mobilefacenet"])
def test_folding_keeps_the_function_in_both_modes(name):
    model = network(name)
    images = torch.randn(2, 3, 112, 112, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        before = model(images)
        fold_batch_norm(model)
        tolerance = 1e-5 * float(before.abs().max())
        assert torch.allclose(model.eval()(images), before, atol=tolerance)
        assert torch.allclose(model.train()(images), before, atol=tolerance)


def test_a_folded_network_has_no_buffers_and_trains():
    model = fold_batch_norm(network()).train()
    assert list(model.buffers()) == []
    model(torch.randn(2, 3, 112, 112, generator=torch.Generator().manual_seed(1))).square().mean().backward()
    affine = [module for module in model.modules() if isinstance(module, ChannelAffine)]
    assert affine
    assert all(module.weight.grad is not None for module in affine)


def test_batch_norms_without_scale_and_for_vectors_fold():
    norm = nn.BatchNorm1d(4, affine=False)
    norm.running_mean.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    norm.running_var.copy_(torch.tensor([1.0, 4.0, 9.0, 16.0]))
    norm.eval()
    values = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(fold_batch_norm(norm)(values), norm(values), atol=1e-6)


def test_a_batch_norm_without_statistics_is_refused():
    with pytest.raises(ValueError, match="statistics"):
        fold_batch_norm(nn.BatchNorm2d(4, track_running_stats=False))
