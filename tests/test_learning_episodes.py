"""Episodes are drawn fairly from whatever a silo has, and losses mean what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.learning.augment import augment, grey
from common.learning.episodes import EpisodeSampler
from common.learning.losses import add_proximal_gradient, anchor_loss, classifier_loss, episode_loss, prototypes
from common.learning.plan import AugmentationPlan, EpisodePlan
from common.models.head import ClassRows, MetaHead


@st.composite
def silos(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Labels and patients of a silo with 1..6 syndromes of 1..5 patients of 1..3 photos."""
    labels, patients, patient = [], [], 0
    for label in range(draw(st.integers(1, 6))):
        for _ in range(draw(st.integers(1, 5))):
            count = draw(st.integers(1, 3))
            labels += [label * 3] * count
            patients += [patient] * count
            patient += 1
    return np.array(labels), np.array(patients)


@settings(deadline=None, max_examples=150)
@given(silos(), st.integers(2, 8), st.integers(1, 3), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_an_episode_never_shows_one_patient_on_both_sides(
    silo: tuple[np.ndarray, np.ndarray], ways: int, shots: int, queries: int, seed: int
) -> None:
    labels, patients = silo
    sampler = EpisodeSampler(labels, patients, EpisodePlan(ways=ways, shots=shots, queries=queries))
    if not sampler:
        assert len(sampler.usable) < 2
        return
    episode = sampler.draw(np.random.default_rng(seed))
    assert episode.ways == min(ways, len(sampler.usable))
    for way in range(episode.ways):
        support = episode.support[episode.support_ways == way]
        query = episode.query[episode.query_ways == way]
        assert 1 <= len(support) <= shots
        assert 1 <= len(query) <= queries
        assert len(np.unique(labels[np.concatenate([support, query])])) == 1
        assert not set(support) & set(query)
        owners = patients[labels == labels[support[0]]]
        if len(np.unique(owners)) > 1:
            assert not set(patients[support]) & set(patients[query])
            assert len(np.unique(patients[support])) == len(support)


def test_a_syndrome_of_two_photos_can_be_asked_for_and_one_of_a_single_photo_cannot() -> None:
    labels = np.array([0, 0, 1, 1, 2])
    patients = np.array([0, 0, 1, 2, 3])
    sampler = EpisodeSampler(labels, patients, EpisodePlan(ways=5, shots=5, queries=5))
    assert sampler.usable == (0, 1)
    episode = sampler.draw(np.random.default_rng(0))
    assert len(episode.support) == len(episode.query) == 2


def test_one_usable_syndrome_makes_no_episode() -> None:
    assert not EpisodeSampler(np.array([0, 0, 1]), np.array([0, 1, 2]), EpisodePlan())


def test_patients_with_many_photos_are_drawn_as_often_as_others() -> None:
    labels = np.array([0] * 11 + [1] * 2)
    patients = np.array([0] * 9 + [1, 2] + [3, 4])
    sampler = EpisodeSampler(labels, patients, EpisodePlan(ways=2, shots=1, queries=1))
    rng = np.random.default_rng(0)
    drawn = [patients[photo] for _ in range(600) for photo in sampler.draw(rng).query if labels[photo] == 0]
    counts = np.bincount(drawn, minlength=3)
    assert counts.min() > 150  # 200 expected each


def test_prototypes_are_class_means() -> None:
    embeddings = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
    means = prototypes(embeddings, torch.tensor([0, 1, 1]), 2)
    assert means.tolist() == [[1.0, 0.0], [0.0, 2.0]]


def test_losses_fall_when_queries_point_to_their_prototype() -> None:
    head = MetaHead(2)
    support, ways = torch.eye(2), torch.tensor([0, 1])
    right = episode_loss(head, support, ways, torch.eye(2), ways, 2)
    wrong = episode_loss(head, support, ways, torch.eye(2).flip(0), ways, 2)
    assert right < 0.01 < 5 < wrong
    rows = ClassRows(torch.tensor([4, 8]), torch.eye(2))
    labels = torch.tensor([4, 8])
    assert torch.isclose(classifier_loss(head, rows, torch.eye(2), labels), right)
    assert classifier_loss(head, rows, torch.eye(2), labels, smoothing=0.1) > right


def test_anchor_loss_is_zero_at_the_start_and_two_at_the_opposite() -> None:
    embeddings = torch.eye(3)
    assert anchor_loss(embeddings, embeddings) == 0
    assert anchor_loss(embeddings, -embeddings) == 2


def test_the_proximal_gradient_pulls_back_to_what_was_received() -> None:
    weight = torch.nn.Parameter(torch.tensor([3.0]))
    weight.grad = torch.tensor([1.0])
    add_proximal_gradient({"w": weight}, {"w": torch.tensor([1.0])}, 0.5)
    assert weight.grad.item() == pytest.approx(2.0)


def test_augmentation_keeps_shape_and_range_and_follows_its_generator() -> None:
    crops = torch.from_numpy(np.random.default_rng(1).uniform(0, 255, (12, 3, 112, 112)).astype(np.float32))
    plan = AugmentationPlan(shrink=0.5)
    before = crops.clone()
    once = augment(crops, plan, np.random.default_rng(7))
    again = augment(crops, plan, np.random.default_rng(7))
    other = augment(crops, plan, np.random.default_rng(8))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    assert torch.equal(crops, before)
    assert once.shape == crops.shape
    assert 0 <= once.min() <= once.max() <= 255


def test_augmentation_does_only_what_is_asked() -> None:
    crops = torch.rand(6, 3, 20, 20) * 255
    rng = np.random.default_rng(0)
    nothing = AugmentationPlan(flip=0, grey=0, shrink=0, jitter=0)
    assert torch.equal(augment(crops, nothing, rng), crops)
    assert torch.equal(augment(crops, nothing.model_copy(update={"flip": 1.0}), rng), crops.flip(3))
    assert torch.allclose(augment(crops, nothing.model_copy(update={"grey": 1.0}), rng), grey(crops))
