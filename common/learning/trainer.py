"""One round of training at one silo: classifier warm-up first, episodes afterwards.

    report = train_locally(model, data, plan, round=0, rng=generator(seed, silo, 0), state=LocalState(seed))

The same arguments give the same weights, bit for bit, on one machine with one number of threads. Steps are
computed where the model lies; what is drawn is drawn on the processor.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.errors import TrainingError
from common.learning.data import TrainingData
from common.learning.episodes import Episode, EpisodeSampler
from common.learning.inputs import Inputs, inputs_for
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
from common.models.sharing import shared_parameters, shared_state

Phase = Literal["classifier", "episodes"]
Batch = NDArray[np.int64]


@dataclass(frozen=True)
class TrainReport:
    """What a silo may tell of its round. ``loss`` is the mean over steps; ``patients`` is its weight."""

    phase: Phase
    loss: float
    steps: int
    patients: int
    photos: int
    syndromes: int


def train_locally(
    model: PhenotypeModel,
    data: TrainingData,
    plan: TrainingPlan,
    *,
    round: int,
    rng: np.random.Generator,
    state: LocalState,
) -> TrainReport:
    """Train the trainable parameters of ``model`` in place for ``plan.epochs`` passes over the silo's patients.

    A pass takes one photo of each patient, so that patients weigh alike however many photos they have.
    ``round`` counts from 0; before ``plan.warmup_rounds`` the loss is the classifier's, afterwards the episodes'.
    A silo of which no episode can be drawn goes on with its classifier. ``state`` is updated.

    Raises:
        TrainingError: fewer than two syndromes, a loss that is not finite, or too little memory on the GPU; the
            model is then not to be used.
    """
    if data.syndrome_count < 2:
        raise TrainingError(
            "one syndrome alone teaches nothing to tell apart",
            remedy="leave the silo out of training; its patients can still stand in the gallery",
        )
    with repeatable(model.device):
        return _Round(model, data, plan, round, rng, state).run()


class _Round:
    """One call of ``train_locally``: what its steps share."""

    def __init__(
        self,
        model: PhenotypeModel,
        data: TrainingData,
        plan: TrainingPlan,
        round: int,
        rng: np.random.Generator,
        state: LocalState,
    ) -> None:
        self.model, self.data, self.plan, self.round, self.rng, self.state = model, data, plan, round, rng, state
        self.device = model.device
        self.labels = torch.from_numpy(data.labels).to(self.device)
        state.to(self.device)
        self.inputs: Inputs = inputs_for(model, data, plan, state)
        self.sampler = EpisodeSampler(data.labels, data.patients, plan.episodes)
        self.phase: Phase = "episodes" if round >= plan.warmup_rounds and self.sampler else "classifier"
        self.rows = self._prepared_rows()
        self.parameters = shared_parameters(model)
        self.received = shared_state(model) if plan.proximal > 0 else {}
        self.optimiser = self._optimiser()

    def run(self) -> TrainReport:
        self.model.train()
        losses: list[float] = []
        for _ in range(self.plan.epochs):
            if self.phase == "classifier":
                losses += [self._step(self._classifier(batch)) for batch in self._pass()]
            else:
                count = max(1, round(self.data.patient_count / self.sampler.size()))
                losses += [self._step(self._episode(self.sampler.draw(self.rng))) for _ in range(count)]
        self.model.eval()
        return TrainReport(
            phase=self.phase,
            loss=float(np.mean(losses)),
            steps=len(losses),
            patients=self.data.patient_count,
            photos=len(self.data.crops),
            syndromes=self.data.syndrome_count,
        )

    def _pass(self) -> Iterator[Batch]:
        """Batches of photo indices: every patient once, by one photo drawn at random."""
        patients = self.data.patients
        photos = np.array(
            [self.rng.choice(np.flatnonzero(patients == patient)) for patient in np.unique(patients)]
        )
        order = self.rng.permutation(photos)
        parts = max(1, round(len(order) / self.plan.batch_size))
        yield from np.array_split(order, parts)

    def _classifier(self, batch: Batch) -> Tensor:
        embeddings = self.inputs.drawn(batch, self.rng)
        loss = self._classifier_loss(embeddings, batch)
        return loss + self._anchor(embeddings, batch)

    def _episode(self, episode: Episode) -> Tensor:
        batch = np.concatenate([episode.support, episode.query])
        embeddings = self.inputs.drawn(batch, self.rng)
        support, query = embeddings[: len(episode.support)], embeddings[len(episode.support) :]
        loss = episode_loss(
            self.model.head,
            support,
            torch.from_numpy(episode.support_ways).to(self.device),
            query,
            torch.from_numpy(episode.query_ways).to(self.device),
            episode.ways,
        )
        if self.plan.classifier_weight > 0:
            loss = loss + self.plan.classifier_weight * self._classifier_loss(embeddings, batch)
        return loss + self._anchor(embeddings, batch)

    def _classifier_loss(self, embeddings: Tensor, batch: Batch) -> Tensor:
        return classifier_loss(
            self.model.head, self.rows, embeddings, self.labels[batch], smoothing=self.plan.label_smoothing
        )

    def _anchor(self, embeddings: Tensor, batch: Batch) -> Tensor | float:
        if self.state.anchors is None:
            return 0.0
        return self.plan.anchor * anchor_loss(embeddings, self.state.anchors[batch])

    def _step(self, loss: Tensor) -> float:
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss became {loss.item()} in round {self.round}",
                remedy="lower the learning rates, and look for damaged photos",
            )
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if self.plan.proximal > 0:
            add_proximal_gradient(self.parameters, self.received, self.plan.proximal)
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.plan.gradient_norm)
        self.optimiser.step()
        return float(loss.detach())

    def _prepared_rows(self) -> ClassRows:
        """The silo's rows, which start at its class means; anchors are taken at the same moment."""
        if self.state.rows is None or (self.plan.anchor > 0 and self.state.anchors is None):
            plain = self.inputs.plain()
            if self.plan.anchor > 0:
                self.state.anchors = plain
            known, ways = torch.unique(self.labels, return_inverse=True)
            self.state.rows = ClassRows(known, prototypes(plain, ways, len(known)))
        return self.state.rows

    def _optimiser(self) -> torch.optim.Optimizer:
        plan, pace = self.plan, self.plan.pace(self.round)
        backbone = {id(parameter) for parameter in self.model.backbone.parameters()}
        groups = [
            {
                "params": [p for p in self.parameters.values() if id(p) in backbone],
                "lr": plan.learning_rate * pace,
            },
            {
                "params": [p for p in self.parameters.values() if id(p) not in backbone],
                "lr": plan.head_learning_rate * pace,
            },
            {"params": list(self.rows.parameters()), "lr": plan.classifier_learning_rate * pace},
        ]
        if plan.optimiser == "adamw":
            return torch.optim.AdamW(groups, weight_decay=plan.weight_decay, foreach=False)
        return torch.optim.SGD(groups, momentum=0.9, weight_decay=plan.weight_decay, foreach=False)
