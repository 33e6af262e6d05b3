"""Pre-training of a face-recognition backbone on procedural people: ``phenofed pretrain``.

Cosine margin loss (Wang et al. 2018, CosFace) over identities that the renderer draws. Nobody's photograph is
involved, so the weights may be shipped and the whole way to them can be walked again from the repository.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

import simulations
from common import storage
from common.config import Settings
from common.errors import TrainingError
from common.models.backbone import Backbone
from common.models.device import device_of, find_device, repeatable
from common.models.loading import load_backbone
from common.models.specs import BackboneSpec, Device
from common.seeding import derive, torch_generator
from simulations.progress import Advance, Progress, Silent
from simulations.synthetic import identity_photo

Crops = NDArray[np.uint8]

SHIFT = 4
WARM_UP = 0.1
MARGIN_RAMP = 0.3


class PretrainPlan(Settings):
    """What is rendered and how it is learned; the defaults made the weights that phenofed ships."""

    architecture: Literal["thin", "mobilefacenet", "iresnet18", "iresnet34", "iresnet50"] = "thin"
    embedding_dim: Annotated[int, Field(ge=16, le=1024)] = 128
    people: Annotated[int, Field(ge=2)] = 500
    photos_each: Annotated[int, Field(ge=2)] = 8
    epochs: Annotated[int, Field(ge=1)] = 12
    batch: Annotated[int, Field(ge=2)] = 32
    learning_rate: Annotated[float, Field(gt=0)] = 0.002
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    scale: Annotated[float, Field(gt=0)] = 20.0
    margin: Annotated[float, Field(ge=0, lt=1)] = 0.2
    threads: Annotated[int, Field(ge=1)] = 1
    device: Device = "cpu"

    @model_validator(mode="after")
    def _a_batch_at_least(self) -> PretrainPlan:
        if self.people * self.photos_each < self.batch:
            raise ValueError("people times photos_each must be at least one batch")
        return self


@dataclass(frozen=True)
class Pretrained:
    """Float16 weights (counters stay integers), the spec they belong to, and the loss of each epoch."""

    state: dict[str, Tensor]
    spec: BackboneSpec
    losses: tuple[float, ...]


def pretrain(plan: PretrainPlan, seed: int, progress: Progress | None = None) -> Pretrained:
    """Render people and train a backbone to tell them apart.

    The same plan and seed give the same weights on the same machine and torch, whatever ran before.

    Raises:
        ConfigError: the plan's device is not there.
        TrainingError: the loss is no longer a number, or the GPU's memory does not suffice.
    """
    progress, device = progress or Silent(), find_device(plan.device)
    threads = torch.get_num_threads()
    torch.set_num_threads(plan.threads)
    try:
        crops, labels = render_people(plan.people, plan.photos_each, seed, progress)
        backbone = load_backbone(
            BackboneSpec(architecture=plan.architecture, embedding_dim=plan.embedding_dim),
            generator=torch_generator(seed, "pretrain", "weights"),
        ).to(device)
        batches = torch_generator(seed, "pretrain", "batches")
        with progress.stage("training", plan.epochs * (len(crops) // plan.batch)) as advance, repeatable(device):
            losses = _train(backbone, crops, labels, plan, batches, advance)
    finally:
        torch.set_num_threads(threads)
    state = backbone.network.state_dict()
    halved = {name: (value.half() if value.is_floating_point() else value).cpu() for name, value in state.items()}
    return Pretrained(halved, backbone.spec, tuple(losses))


def render_people(people: int, photos_each: int, seed: int, progress: Progress) -> tuple[Crops, Tensor]:
    """``simulations.synthetic.identities`` with a report for each person: crops (n, 112, 112, 3), labels (n,)."""
    drawn = derive(seed, "pretrain", "people")
    crops = np.empty((people * photos_each, 112, 112, 3), np.uint8)
    with progress.stage("rendering people", people) as advance:
        for person in range(people):
            for photo in range(photos_each):
                crops[person * photos_each + photo] = identity_photo(person, photo, drawn)
            advance(1)
    return crops, torch.arange(people).repeat_interleave(photos_each)


class CosineMargin(nn.Module):
    """Cross-entropy over ``scale * cosine`` to one row a person, the right one lowered by ``margin``."""

    def __init__(self, dim: int, people: int, *, scale: float, generator: torch.Generator) -> None:
        super().__init__()
        self.scale = scale
        self.rows = nn.Parameter(torch.randn(people, dim, generator=generator))

    def forward(self, features: Tensor, labels: Tensor, margin: float) -> Tensor:
        """Features (n, d) of any norm and labels (n,) to the mean loss."""
        cosines = functional.normalize(features, dim=1) @ functional.normalize(self.rows, dim=1).T
        lowered = cosines - margin * functional.one_hot(labels, len(self.rows))
        return functional.cross_entropy(self.scale * lowered, labels)


def _train(
    backbone: Backbone,
    crops: Crops,
    labels: Tensor,
    plan: PretrainPlan,
    generator: torch.Generator,
    advance: Advance,
) -> list[float]:
    device = device_of(backbone)
    loss = CosineMargin(plan.embedding_dim, plan.people, scale=plan.scale, generator=generator).to(device)
    learning = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW([*learning, *loss.parameters()], lr=0.0, weight_decay=plan.weight_decay)
    batches = len(crops) // plan.batch
    total, step, means = batches * plan.epochs, 0, []
    backbone.train()
    for _ in range(plan.epochs):
        order = torch.randperm(len(crops), generator=generator)
        values = []
        for chosen in torch.split(order, plan.batch)[:batches]:
            optimiser.param_groups[0]["lr"] = plan.learning_rate * _rate(step / total)
            images = augmented(torch.from_numpy(crops[chosen.numpy()]).to(device).permute(0, 3, 1, 2), generator)
            value = loss(
                backbone(images), labels[chosen].to(device), plan.margin * min(1.0, step / total / MARGIN_RAMP)
            )
            optimiser.zero_grad(set_to_none=True)
            value.backward()
            optimiser.step()
            values.append(float(value.detach()))
            if not math.isfinite(values[-1]):
                raise TrainingError(f"the loss is {values[-1]} at step {step}", remedy="lower the learning rate")
            step += 1
            advance(1)
        means.append(sum(values) / len(values))
    backbone.eval()
    return means


def augmented(images: Tensor, generator: torch.Generator) -> Tensor:
    """Crops (n, 3, h, w) uint8 to floats 0..255: mirrored half of the time, moved by up to 4 pixels, one in
    ten grey.

    Chances are drawn from ``generator`` on the processor, and the work is done where the crops lie. Colour, noise,
    blur and pose already differ from photo to photo in the rendering.
    """
    count, _, height, width = images.shape
    floats = images.float()
    mirrored = (torch.rand(count, generator=generator) < 0.5).to(images.device)
    grey = (torch.rand(count, generator=generator) < 0.1).to(images.device)
    moves = torch.randint(0, 2 * SHIFT + 1, (count, 2), generator=generator)
    floats = torch.where(mirrored[:, None, None, None], floats.flip(3), floats)
    floats = torch.where(grey[:, None, None, None], floats.mean(1, keepdim=True).expand_as(floats), floats)
    padded = functional.pad(floats, (SHIFT,) * 4, mode="replicate")
    return torch.stack(
        [
            image[:, top : top + height, left : left + width]
            for image, (top, left) in zip(padded, moves.tolist(), strict=True)
        ]
    )


def _rate(part: float) -> float:
    """The learning rate's course over the run, 0..1: linear warm-up, then half a cosine."""
    if part < WARM_UP:
        return (part + 0.01) / (WARM_UP + 0.01)
    return 0.5 * (1 + math.cos(math.pi * (part - WARM_UP) / (1 - WARM_UP)))


def renderer_hash() -> str:
    """SHA-256 over the source files that decide how people look, names and contents, in sorted order."""
    folder = Path(simulations.__file__).parent
    files = sorted((folder / "faces").rglob("*.py"))
    lines = [f"{storage.sha256_file(file)} {file.relative_to(folder).as_posix()}" for file in files]
    return storage.sha256_bytes("\n".join(lines).encode())
