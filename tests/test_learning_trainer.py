"""A round of local training learns, is repeatable, and fails clearly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from common.errors import TrainingError
from common.learning.data import TrainingData
from common.learning.frozen_part import split
from common.learning.local_state import LocalState
from common.learning.plan import TrainingPlan
from common.learning.trainer import TrainReport, train_locally
from common.models.phenotype import PhenotypeModel, as_tensor
from common.models.sharing import make_trainable, shared_parameters, shared_state


class TinyBackbone(nn.Module):
    embedding_dim = 16

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 8, stride=8)
        self.norm = nn.BatchNorm2d(16)
        self.second = nn.Conv2d(16, 16, 3, stride=2)
        self.last = nn.Linear(16, 16)
        self.calls = 0

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        x = torch.relu(self.norm(self.first(crops.float() / 127.5 - 1)))
        return self.last(torch.relu(self.second(x)).mean(dim=(2, 3)))


def new_model(fraction: float) -> PhenotypeModel:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = PhenotypeModel(TinyBackbone())
    make_trainable(model, fraction)
    return model.eval()


def new_data(syndromes: int = 4, patients: int = 6, photos: int = 2) -> TrainingData:
    """Crops whose colour hints at the syndrome."""
    rng = np.random.default_rng(5)
    labels = np.repeat(np.arange(syndromes), patients * photos)
    owners = np.repeat(np.arange(syndromes * patients), photos)
    tint = rng.integers(0, 150, (syndromes, 1, 1, 3))
    crops = rng.integers(0, 100, (len(labels), 112, 112, 3)) + tint[labels]
    return TrainingData(crops.astype(np.uint8), labels, owners)


def train(
    model: PhenotypeModel, plan: TrainingPlan, rounds: int, data: TrainingData | None = None
) -> tuple[list[TrainReport], LocalState]:
    state = LocalState(seed=3)
    reports = [
        train_locally(
            model,
            data or new_data(),
            plan,
            round=round,
            rng=np.random.default_rng(round),
            state=state,
        )
        for round in range(rounds)
    ]
    return reports, state


PLAN = TrainingPlan(rounds=4, epochs=2, warmup_rounds=2, batch_size=8, learning_rate=1e-3, schedule="constant")


@pytest.mark.parametrize("fraction", [0.0, 0.5])
def test_the_loss_falls_and_the_phases_follow_each_other(fraction: float) -> None:
    plan = PLAN.model_copy(update={"rounds": 12, "warmup_rounds": 6})
    reports, _ = train(new_model(fraction), plan, 12)
    assert [report.phase for report in reports] == ["classifier"] * 6 + ["episodes"] * 6
    assert reports[5].loss < 0.9 * reports[0].loss
    assert (reports[0].patients, reports[0].photos, reports[0].syndromes) == (24, 48, 4)
    assert reports[0].steps == 2 * 3  # two passes over 24 patients in batches of 8


@pytest.mark.parametrize("fraction", [0.0, 0.5])
def test_the_same_arguments_give_the_same_weights_bit_for_bit(fraction: float) -> None:
    first, second = new_model(fraction), new_model(fraction)
    train(first, PLAN, 3)
    train(second, PLAN, 3)
    one, other = shared_state(first), shared_state(second)
    assert all(torch.equal(one[path], other[path]) for path in one)
    assert not torch.equal(one["head.projection.weight"], torch.zeros(16, 16))


def test_only_trainable_parameters_move() -> None:
    model = new_model(0.5)
    before = {path: value.clone() for path, value in model.state_dict().items()}
    train(model, PLAN, 3)
    moved = {path for path, value in model.state_dict().items() if not torch.equal(value, before[path])}
    assert moved == set(shared_parameters(model))


def test_a_frozen_backbone_runs_once_for_all_rounds() -> None:
    model = new_model(0.0)
    plan = PLAN.model_copy(update={"cached_views": 3})
    train(model, plan, 3)
    assert model.backbone.calls == 1 + 3 * 2  # the shape of its output; two batches for each view


def test_a_part_that_is_frozen_is_not_run_again_and_the_rest_still_learns() -> None:
    model = new_model(0.5)
    seen = []
    model.backbone.first.register_forward_hook(lambda *_: seen.append("frozen"))
    model.backbone.last.register_forward_hook(lambda *_: seen.append("learning"))
    plan = PLAN.model_copy(update={"cached_views": 2})
    state = LocalState(seed=3)
    before = shared_state(model)
    for round in range(2):
        train_locally(model, new_data(), plan, round=round, rng=np.random.default_rng(0), state=state)
        if round == 0:
            seen.clear()
    assert "frozen" not in seen
    assert "learning" in seen
    assert not torch.equal(before["backbone.last.weight"], model.backbone.last.weight)


def test_without_memory_for_views_every_step_augments_anew() -> None:
    model = new_model(0.5)
    plan = PLAN.model_copy(update={"cache_megabytes": 0})
    reports, state = train(model, plan, 1)
    assert model.backbone.calls > reports[0].steps
    assert state.views is not None
    assert len(state.views) == 0


@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.5])
def test_the_frozen_and_the_learning_part_make_the_backbone(fraction: float) -> None:
    model = new_model(fraction)
    crops = as_tensor(new_data().crops[:5])
    parts = split(model, crops)
    assert parts is not None
    torch.testing.assert_close(parts.learning(parts.frozen(crops)), model.backbone(crops))
    assert not any(parameter.requires_grad for parameter in parts.frozen.parameters())


def test_a_backbone_that_learns_from_its_first_layer_has_no_frozen_part() -> None:
    model = new_model(1.0)
    assert split(model, as_tensor(new_data().crops[:2])) is None


def test_a_run_resumed_from_the_kept_state_ends_alike() -> None:
    plan = PLAN.model_copy(update={"anchor": 0.5})
    whole, broken = new_model(0.0), new_model(0.0)
    train(whole, plan, 2)
    state = LocalState(seed=3)
    for round in range(2):
        rng = np.random.default_rng(round)
        train_locally(broken, new_data(), plan, round=round, rng=rng, state=state)
        state = LocalState.restored(3, state.tensors())
    one, other = shared_state(whole), shared_state(broken)
    assert all(torch.equal(one[path], other[path]) for path in one)


def test_one_syndrome_is_refused() -> None:
    with pytest.raises(TrainingError, match="one syndrome") as caught:
        train(new_model(0.0), PLAN, 1, new_data(syndromes=1))
    assert "gallery" in caught.value.remedy


def test_a_silo_without_episodes_goes_on_with_its_classifier() -> None:
    reports, _ = train(new_model(0.0), PLAN, 3, new_data(patients=1, photos=1))
    assert [report.phase for report in reports] == ["classifier"] * 3


def test_a_loss_that_is_not_a_number_is_named() -> None:
    model = new_model(0.5)
    with torch.no_grad():
        model.backbone.last.weight.fill_(float("nan"))
    with pytest.raises(TrainingError, match="loss became nan in round 0"):
        train(model, PLAN, 1)


def test_a_patient_weighs_the_same_with_one_photo_or_many() -> None:
    few, many = new_data(photos=1), new_data(photos=1)
    repeated = np.repeat(np.arange(24), np.where(np.arange(24) % 2, 1, 5))
    many = TrainingData(many.crops[repeated], many.labels[repeated], many.patients[repeated])
    one = train(new_model(0.0), PLAN, 1, few)[0][0]
    other = train(new_model(0.0), PLAN, 1, many)[0][0]
    assert one.steps == other.steps
    assert one.patients == other.patients == 24


def test_the_proximal_term_keeps_the_model_closer_to_what_was_received() -> None:
    def distance(strength: float) -> float:
        model = new_model(0.5)
        before = shared_state(model)
        train(model, PLAN.model_copy(update={"proximal": strength, "optimiser": "sgd"}), 1)
        return sum(float((value - before[path]).square().sum()) for path, value in shared_state(model).items())

    assert distance(20.0) < distance(0.0)


@pytest.mark.parametrize(
    ("labels", "patients", "message"),
    [([0, 0], [0], "differ in number"), ([], [], "no photo"), ([0, 1], [4, 4], "two syndromes")],
)
def test_data_that_does_not_fit_is_refused(labels: list[int], patients: list[int], message: str) -> None:
    crops = np.zeros((len(labels), 112, 112, 3), np.uint8)
    with pytest.raises(TrainingError, match=message):
        TrainingData(crops, np.array(labels, np.int64), np.array(patients, np.int64))


@pytest.mark.parametrize("change", [{"rounds": 0}, {"learning_rate": 0}, {"episodes": {"ways": 1}}, {"round": 3}])
def test_plans_out_of_bounds_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TrainingPlan.model_validate(change)


def test_the_pace_falls_along_a_cosine() -> None:
    plan = TrainingPlan(rounds=10, schedule="cosine")
    assert plan.pace(0) == 1
    assert plan.pace(5) == pytest.approx(0.5)
    assert plan.pace(9) < 0.05
    assert PLAN.pace(9) == 1
