"""Federated averaging as one would write it in an afternoon: arrays in memory, one model, two loops.

No messages, no records, no gate, no checkpoint, no consent: what training costs without them. It draws the same
numbers in the same order as a run, so that both end with the same weights. Losses, episodes, augmentation and the
model are those of common.learning and common.models; the loop around them is written again here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from common.learning.data import TrainingData
from common.learning.episodes import EpisodeSampler
from common.learning.inputs import inputs_for
from common.learning.local_state import LocalState
from common.learning.losses import (
    add_proximal_gradient,
    anchor_loss,
    classifier_loss,
    episode_loss,
    prototypes,
)
from common.learning.plan import TrainingPlan
from common.models.device import repeatable
from common.models.head import ClassRows
from common.models.phenotype import PhenotypeModel
from common.models.sharing import shared_parameters
from common.seeding import derive, generator

Weights = dict[str, Tensor]


def train_plainly(
    model: PhenotypeModel,
    initial: Mapping[str, Tensor],
    silos: Mapping[str, TrainingData],
    plan: TrainingPlan,
    seed: int,
    *,
    on_round: Callable[[], None] = lambda: None,
) -> Weights:
    """The shared parameters by path after ``plan.rounds`` rounds over ``silos``, weighted by patients."""
    weights = {path: value.clone() for path, value in initial.items()}
    shared = shared_parameters(model)
    trained = {name: silos[name] for name in sorted(silos) if silos[name].syndrome_count > 1}
    states = {name: LocalState(derive(seed, name, "once")) for name in trained}
    patients = sum(data.patient_count for data in trained.values())
    for number in range(plan.rounds):
        step = {path: torch.zeros_like(value, dtype=torch.float64) for path, value in weights.items()}
        for name, data in trained.items():
            with torch.no_grad():
                for path, parameter in shared.items():
                    parameter.copy_(weights[path])
            with repeatable(model.device):
                _train_silo(model, shared, data, plan, number, generator(seed, name, number + 1), states[name])
            for path, parameter in shared.items():
                change = parameter.detach().cpu() - weights[path]
                step[path] += (data.patient_count / patients) * change.double()
        weights = {path: value + step[path].float() for path, value in weights.items()}
        on_round()
    return weights


def _train_silo(
    model: PhenotypeModel,
    shared: Mapping[str, nn.Parameter],
    data: TrainingData,
    plan: TrainingPlan,
    number: int,
    rng: np.random.Generator,
    state: LocalState,
) -> None:
    labels = torch.from_numpy(data.labels).to(model.device)
    inputs = inputs_for(model, data, plan, state)
    if state.rows is None:
        plain = inputs.plain()
        state.anchors = plain if plan.anchor > 0 else None
        known, ways = torch.unique(labels, return_inverse=True)
        state.rows = ClassRows(known, prototypes(plain, ways, len(known)))
    rows, head = state.rows, model.head
    received = {path: value.detach().clone() for path, value in shared.items()} if plan.proximal > 0 else {}
    optimiser = _optimiser(model, shared, rows, plan, number)
    sampler = EpisodeSampler(data.labels, data.patients, plan.episodes)
    photos_of = [np.flatnonzero(data.patients == patient) for patient in np.unique(data.patients)]
    model.train()

    def step(loss: Tensor, embeddings: Tensor, batch: np.ndarray) -> None:
        if state.anchors is not None:
            loss = loss + plan.anchor * anchor_loss(embeddings, state.anchors[batch])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if plan.proximal > 0:
            add_proximal_gradient(shared, received, plan.proximal)
        nn.utils.clip_grad_norm_(shared.values(), plan.gradient_norm)
        optimiser.step()

    def by_class(embeddings: Tensor, batch: np.ndarray) -> Tensor:
        return classifier_loss(head, rows, embeddings, labels[batch], smoothing=plan.label_smoothing)

    for _ in range(plan.epochs):
        if number >= plan.warmup_rounds and sampler:
            for _ in range(max(1, round(data.patient_count / sampler.size()))):
                episode = sampler.draw(rng)
                batch = np.concatenate([episode.support, episode.query])
                embeddings = inputs.drawn(batch, rng)
                support, query = embeddings[: len(episode.support)], embeddings[len(episode.support) :]
                ways = [torch.from_numpy(of).to(model.device) for of in (episode.support_ways, episode.query_ways)]
                loss = episode_loss(head, support, ways[0], query, ways[1], episode.ways)
                if plan.classifier_weight > 0:
                    loss = loss + plan.classifier_weight * by_class(embeddings, batch)
                step(loss, embeddings, batch)
        else:
            order = rng.permutation(np.array([rng.choice(photos) for photos in photos_of]))
            for batch in np.array_split(order, max(1, round(len(order) / plan.batch_size))):
                embeddings = inputs.drawn(batch, rng)
                step(by_class(embeddings, batch), embeddings, batch)
    model.eval()


def _optimiser(
    model: PhenotypeModel, shared: Mapping[str, nn.Parameter], rows: ClassRows, plan: TrainingPlan, number: int
) -> torch.optim.AdamW | torch.optim.SGD:
    pace = plan.pace(number)
    backbone = {id(parameter) for parameter in model.backbone.parameters()}
    groups = [
        {"params": [p for p in shared.values() if id(p) in backbone], "lr": plan.learning_rate * pace},
        {"params": [p for p in shared.values() if id(p) not in backbone], "lr": plan.head_learning_rate * pace},
        {"params": list(rows.parameters()), "lr": plan.classifier_learning_rate * pace},
    ]
    if plan.optimiser == "adamw":
        return torch.optim.AdamW(groups, weight_decay=plan.weight_decay, foreach=False)
    return torch.optim.SGD(groups, momentum=0.9, weight_decay=plan.weight_decay, foreach=False)
