"""Pre-training learns to tell rendered people apart, and gives the same weights again."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
import torch

from common.config import parse
from common.errors import ConfigError, TrainingError, WeightsError
from common.models.loading import load_backbone
from common.models.specs import BackboneSpec
from common.seeding import derive
from simulations.pretrain import CosineMargin, PretrainPlan, augmented, pretrain, render_people, renderer_hash
from simulations.pretrain_quality import verification
from simulations.progress import Silent
from simulations.synthetic import identities
from simulations.weights import THIN, locate

TINY = PretrainPlan(people=6, photos_each=4, epochs=2, batch=8, embedding_dim=16)


@pytest.fixture(scope="module")
def tiny():
    return pretrain(TINY, 3)


class Recorder(Silent):
    """Counts what each stage reports, and can interrupt."""

    def __init__(self, interrupt: str = "") -> None:
        self.steps: dict[str, tuple[int, int]] = {}
        self.interrupt = interrupt

    @contextmanager
    def stage(self, name, total):
        self.steps[name] = (0, total)

        def advance(steps):
            if name == self.interrupt:
                raise KeyboardInterrupt
            self.steps[name] = (self.steps[name][0] + steps, total)

        yield advance


def test_plan_and_seed_decide_every_weight(tiny):
    torch.rand(7)  # what ran before does not matter
    again = pretrain(TINY, 3)
    assert all(torch.equal(value, again.state[name]) for name, value in tiny.state.items())
    assert again.losses == tiny.losses
    other = pretrain(TINY, 4)
    assert not torch.equal(other.state["conv1.weight"], tiny.state["conv1.weight"])


def test_pretraining_leaves_torchs_global_state_alone():
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    pretrain(TINY, 5)
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.get_num_threads() == threads


def test_weights_are_half_precision_and_finite(tiny):
    floats = [value for value in tiny.state.values() if value.is_floating_point()]
    assert {value.dtype for value in floats} == {torch.float16}
    assert all(bool(torch.isfinite(value).all()) for value in floats)


def test_every_stage_is_reported_to_its_end():
    seen = Recorder()
    pretrain(TINY, 3, seen)
    assert seen.steps == {"rendering people": (6, 6), "training": (6, 6)}


def test_the_rendered_people_are_those_of_the_synthetic_module():
    crops, labels = render_people(2, 3, 9, Silent())
    expected, people = identities(2, 3, derive(9, "pretrain", "people"))
    np.testing.assert_array_equal(crops, expected)
    assert labels.tolist() == people.tolist()


def test_the_margin_makes_the_task_harder_and_zero_margin_is_cross_entropy():
    loss = CosineMargin(4, 3, scale=8.0, generator=torch.Generator().manual_seed(0))
    features = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 1, 2, 0, 1])
    cosines = torch.nn.functional.cosine_similarity(features[:, None], loss.rows[None], dim=2)
    plain = torch.nn.functional.cross_entropy(8.0 * cosines, labels)
    assert loss(features, labels, 0.0).item() == pytest.approx(plain.item(), rel=1e-5)
    assert loss(features, labels, 0.3) > plain


def test_augmentation_follows_the_generator_and_stays_within_the_pixel_range():
    images = torch.from_numpy(identities(2, 4, 1)[0]).permute(0, 3, 1, 2)
    first, again, other = (augmented(images, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == images.shape
    assert 0 <= first.min() <= first.max() <= 255


def test_a_run_away_loss_is_said():
    with pytest.raises(TrainingError, match="learning rate"):
        pretrain(TINY.model_copy(update={"learning_rate": 1e30, "epochs": 4}), 0)


def test_a_plan_smaller_than_a_batch_is_refused():
    with pytest.raises(ConfigError, match="one batch"):
        parse({"people": 2, "photos_each": 2}, PretrainPlan, origin="--set")


def test_the_renderer_hash_is_stable_and_short():
    assert renderer_hash() == renderer_hash()
    assert len(renderer_hash()) == 64


def test_verification_is_perfect_for_perfect_features_and_chance_for_none():
    labels = np.repeat(np.arange(4), 3)
    crops = np.zeros((12, 112, 112, 3), np.uint8)
    crops[np.arange(12), 0, labels, 0] = 255

    class Reads(torch.nn.Module):
        def forward(self, x):
            return x[:, 0, 0, :8] + 1e-3

    class Blind(torch.nn.Module):
        def forward(self, x):
            return torch.ones(len(x), 8)

    assert verification(Reads(), crops, labels) == {"auc": 1.0, "rank1": 1.0}
    assert verification(Blind(), crops, labels)["auc"] == pytest.approx(0.5)


def test_the_shipped_thin_weights_know_unseen_people():
    assert locate("thin") == THIN
    assert THIN.stat().st_size <= 6_000_000
    crops, labels = identities(25, 3, 77)
    shipped = verification(load_backbone(BackboneSpec(architecture="thin", path=THIN)), crops, labels)
    blank = load_backbone(BackboneSpec(architecture="thin"), generator=torch.Generator().manual_seed(0))
    assert shipped["auc"] > 0.95
    assert shipped["auc"] > verification(blank, crops, labels)["auc"] + 0.1


def test_unknown_shipped_weights_are_named_with_what_there_is():
    with pytest.raises(WeightsError, match=r"thick.*thin"):
        locate("thick")
