"""From a specification to the model that learns: one resident copy for each specification.

Silos that share a process share the copy: whoever trains or embeds first loads the shared parameters into it. What
is not shared never changes, so nothing of one silo stays behind for the next. The pool also says where
networks run; parameters come and go as arrays on the processor.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch

from common.config import parse
from common.learning.plan import TrainingPlan
from common.models.device import find_device
from common.models.loading import load_backbone
from common.models.phenotype import PhenotypeModel
from common.models.sharing import load_shared, make_trainable, shared_parameters
from common.models.specs import BackboneSpec
from common.records import Parameters
from common.seeding import torch_generator


class ModelPool:
    """Loaded models by specification, on one device, and their pretrained shared parameters.

    Args:
        device: auto, cpu, cuda or cuda:N; looked for when the first model is loaded.
    """

    def __init__(self, device: str = "cpu") -> None:
        self._name = device
        self._models: dict[str, tuple[PhenotypeModel, Parameters]] = {}

    @cached_property
    def device(self) -> torch.device:
        """Where the models lie.

        Raises:
            ConfigError: no such device on this machine.
        """
        return find_device(self._name)

    def model(self, spec: BackboneSpec, plan: TrainingPlan) -> PhenotypeModel:
        """The resident model; its shared parameters are whatever was loaded last."""
        return self._loaded(spec, plan)[0]

    def initial(self, spec: BackboneSpec, plan: TrainingPlan) -> Parameters:
        """The shared parameters before any training, float32 arrays by sorted path."""
        return self._loaded(spec, plan)[1]

    def _loaded(self, spec: BackboneSpec, plan: TrainingPlan) -> tuple[PhenotypeModel, Parameters]:
        key = f"{spec.model_dump_json()} {plan.trainable_fraction} {plan.temperature}"
        if key not in self._models:
            device = self.device  # a device that is not there is told before a large file is read
            # The generator serves specifications without a file: random weights, the same at every silo.
            backbone = load_backbone(spec, generator=torch_generator(0, "backbone"))
            model = PhenotypeModel(backbone, temperature=plan.temperature)
            make_trainable(model, plan.trainable_fraction)
            model.to(device).eval()
            self._models[key] = (model, read_shared(model))
        return self._models[key]


def read_shared(model: PhenotypeModel) -> Parameters:
    """Copies of the shared parameters as float32 arrays by sorted path."""
    return {path: value.detach().cpu().numpy().copy() for path, value in shared_parameters(model).items()}


def write_shared(model: PhenotypeModel, parameters: Parameters) -> None:
    """Replace the shared parameters.

    Raises:
        TrainingError: keys or shapes differ from the model's; nothing is changed then.
    """
    load_shared(model, {path: torch.from_numpy(np.asarray(value)) for path, value in parameters.items()})


def parse_model(data: Mapping[str, Any]) -> BackboneSpec:
    """The specification out of its JSON form."""
    return parse(data, BackboneSpec, origin="the round's model")


def parse_plan(data: Mapping[str, Any]) -> TrainingPlan:
    """The plan out of its JSON form."""
    return parse(data, TrainingPlan, origin="the round's plan")
