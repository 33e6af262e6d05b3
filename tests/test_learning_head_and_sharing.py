"""The head starts as the identity, and what travels is chosen by the type of its module."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from torch import nn

from common.errors import TrainingError
from common.models.head import ClassRows, MetaHead
from common.models.phenotype import PhenotypeModel, as_tensor, embed
from common.models.sharing import load_shared, make_trainable, shared_parameters, shared_state


class TinyBackbone(nn.Module):
    """Names that say nothing true of the modules, so that choosing by name would go wrong."""

    embedding_dim = 6

    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Conv2d(3, 4, 3, stride=8)
        self.projection = nn.BatchNorm2d(4)
        self.rows = nn.Conv2d(4, 4, 3, stride=4)
        self.slope = nn.PReLU(4)
        self.bn = nn.Linear(4, 6)

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        x = self.projection(self.classifier(crops.float() / 255))
        return self.bn(self.slope(self.rows(x)).mean(dim=(2, 3)))


@pytest.fixture
def model() -> PhenotypeModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return PhenotypeModel(TinyBackbone()).eval()


@pytest.fixture
def crops() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 112, 112, 3), dtype=np.uint8)


def test_an_untrained_head_gives_the_pretrained_direction(model: PhenotypeModel, crops: np.ndarray) -> None:
    features = embed(model.backbone, crops)
    embeddings = embed(model, crops)
    expected = features / np.linalg.norm(features, axis=1, keepdims=True)
    np.testing.assert_allclose(embeddings, expected, atol=1e-6)
    assert embeddings.dtype == np.float32


def test_embedding_does_not_depend_on_the_batch_size(model: PhenotypeModel, crops: np.ndarray) -> None:
    np.testing.assert_allclose(embed(model, crops, batch=2), embed(model, crops, batch=5), atol=1e-6)


def test_temperature_stays_within_its_bounds() -> None:
    head = MetaHead(3)
    assert head.temperature.value == pytest.approx(10)
    with torch.no_grad():
        head.temperature.logarithm.fill_(50.0)
    assert head.temperature.value == pytest.approx(100)


def test_normalisation_statistics_do_not_move_in_training(model: PhenotypeModel, crops: np.ndarray) -> None:
    before = model.backbone.projection.running_mean.clone()
    model.train()
    model(as_tensor(crops))
    assert model.training
    assert torch.equal(model.backbone.projection.running_mean, before)


@pytest.mark.parametrize(
    ("fraction", "expected"),
    [
        (0.0, set()),
        (0.3, {"bn.bias", "bn.weight"}),
        (0.5, {"bn.bias", "bn.weight", "rows.bias", "rows.weight", "slope.weight"}),
        (1.0, None),
    ],
)
def test_the_last_part_of_the_depth_learns(
    model: PhenotypeModel, fraction: float, expected: set[str] | None
) -> None:
    make_trainable(model, fraction)
    learning = {name for name, parameter in model.backbone.named_parameters() if parameter.requires_grad}
    everything = {name for name, _ in model.backbone.named_parameters()}
    assert learning == (everything if expected is None else expected)
    assert all(parameter.requires_grad for parameter in model.head.parameters())


def test_shared_parameters_are_sorted_and_leave_out_classifier_rows(model: PhenotypeModel) -> None:
    make_trainable(model, 0.5)
    model.anything = ClassRows(torch.tensor([3, 7]), torch.ones(2, 6))
    paths = list(shared_parameters(model))
    assert paths == sorted(paths)
    assert not any(path.startswith("anything") for path in paths)
    assert "backbone.rows.weight" in paths  # named like classifier rows, but a convolution
    assert "head.temperature.logarithm" in paths


def test_shared_state_goes_round(model: PhenotypeModel) -> None:
    make_trainable(model, 0.5)
    state = {path: value + 1 for path, value in shared_state(model).items()}
    load_shared(model, state)
    assert all(torch.equal(value, state[path]) for path, value in shared_state(model).items())


def test_weights_that_do_not_fit_change_nothing(model: PhenotypeModel) -> None:
    make_trainable(model, 0.5)
    before = shared_state(model)
    wrong = {path: value + 1 for path, value in before.items()}
    wrong["head.projection.weight"] = torch.ones(2, 2)
    with pytest.raises(TrainingError, match=r"head\.projection\.weight") as caught:
        load_shared(model, wrong)
    assert pickle.loads(pickle.dumps(caught.value)).remedy  # survives the way between processes
    assert all(torch.equal(value, before[path]) for path, value in shared_state(model).items())


def test_class_rows_map_the_silos_own_labels() -> None:
    rows = ClassRows(torch.tensor([3, 7, 9]), torch.eye(3) * 5)
    assert rows.targets(torch.tensor([9, 3, 3, 7])).tolist() == [2, 0, 0, 1]
    assert torch.equal(rows.rows.detach(), torch.eye(3))
