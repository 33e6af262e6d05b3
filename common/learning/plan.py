"""The training plan: every number that silos must agree on before they train together."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from common.config import Settings

Probability = Annotated[float, Field(ge=0, le=1)]
LearningRate = Annotated[float, Field(gt=0, le=1)]


class AugmentationPlan(Settings):
    """Chances and strengths of the random changes to a training crop."""

    flip: Probability = 0.5
    grey: Probability = 0.1
    shrink: Probability = 0.1  # to 50..100 pixels and back: small photographs
    jitter: Annotated[float, Field(ge=0, lt=1)] = 0.2  # brightness, contrast and saturation vary by 1 +- this


class EpisodePlan(Settings):
    """N-way K-shot episodes; a silo with fewer syndromes or patients draws smaller ones."""

    ways: Annotated[int, Field(ge=2, le=256)] = 12
    shots: Annotated[int, Field(ge=1, le=64)] = 2
    queries: Annotated[int, Field(ge=1, le=64)] = 1


class TrainingPlan(Settings):
    """How the silos train. Two phases: classifier warm-up, then episodes.

    ``epochs``: passes over the silo's patients in a round, one photo of each patient a pass.
    ``trainable_fraction``: the last part of the backbone's depth that learns; 0 trains the head alone.
    ``classifier_weight``: share of the classifier loss that goes on beside the episodes.
    ``proximal``: FedProx's mu. ``anchor``: weight of 1 - cosine to the embedding before training.
    ``cached_views``: how many views of a photo are run once through the frozen part of the backbone and kept, the
    photo as it is among them; as many as ``cache_megabytes`` a silo hold, and 0 augments anew for every step.
    """

    rounds: Annotated[int, Field(ge=1, le=10_000)] = 10
    epochs: Annotated[int, Field(ge=1, le=1_000)] = 2
    warmup_rounds: Annotated[int, Field(ge=0, le=10_000)] = 4
    trainable_fraction: Probability = 0.5
    batch_size: Annotated[int, Field(ge=2, le=4096)] = 32
    optimiser: Literal["adamw", "sgd"] = "adamw"
    learning_rate: LearningRate = 3e-4
    head_learning_rate: LearningRate = 1e-3
    classifier_learning_rate: LearningRate = 1e-2
    schedule: Literal["constant", "cosine"] = "cosine"
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 1e-4
    gradient_norm: Annotated[float, Field(gt=0)] = 5.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    classifier_weight: Annotated[float, Field(ge=0, le=100)] = 0.5
    proximal: Annotated[float, Field(ge=0, le=100)] = 0.0
    anchor: Annotated[float, Field(ge=0, le=100)] = 0.0
    temperature: Annotated[float, Field(ge=1, le=100)] = 10.0
    cached_views: Annotated[int, Field(ge=0, le=256)] = 8
    cache_megabytes: Annotated[int, Field(ge=0, le=1_000_000)] = 512
    episodes: EpisodePlan = EpisodePlan()
    augmentation: AugmentationPlan = AugmentationPlan()

    def pace(self, round: int) -> float:
        """The factor on every learning rate in ``round``, counted from 0: 1, or a half cosine from 1 to near 0."""
        if self.schedule == "constant":
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * min(round, self.rounds) / self.rounds))
