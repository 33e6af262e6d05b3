"""``phenofed pretrain``: make a backbone from procedural people, and say how good it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

if TYPE_CHECKING:
    from simulations.pretrain import Pretrained, PretrainPlan
    from simulations.progress import Progress


def register_pretrain(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="pretrain")(pretrain_command)


def pretrain_command(
    out: Annotated[Path, typer.Option("--out", help="Folder for NAME.safetensors and NAME.manifest.json.")],
    name: Annotated[str, typer.Option("--name", help="What to call the weights.")] = "thin",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Decides people, weights and order.")] = 0,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the plan, such as epochs=2."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace weights of that name.")] = False,
) -> None:
    """Train a face-recognition backbone on rendered people, and measure it on people it has not seen.

    No photograph is involved. With the defaults this makes the thin weights that phenofed ships, in about a
    quarter of an hour on one core. The same seed and plan give the same file on the same machine and torch.
    Nothing is written before the end, so Ctrl-C leaves the folder as it is.

    Keys of the plan: architecture, embedding_dim, people, photos_each, epochs, batch, learning_rate, weight_decay,
    scale, margin, threads, device (auto, cpu, cuda or cuda:N).

    Examples:

      phenofed pretrain --out weights

      phenofed pretrain --out weights --name small --set people=200 --set epochs=4 --seed 1
    """
    from common.config import override, parse
    from common.errors import RunError
    from simulations.console import Bars
    from simulations.pretrain import PretrainPlan

    plan = parse(override({}, overrides or []), PretrainPlan, origin="--set")
    if not name.replace("-", "").replace("_", "").isalnum():
        raise typer.BadParameter("a name has letters, digits, - and _ alone", param_hint="--name")
    weights = out / f"{name}.safetensors"
    if weights.exists() and not overwrite:
        raise RunError(f"{weights} exists", remedy="choose another --out or --name, or pass --overwrite")
    console = Console(stderr=True)
    with Bars(console) as bars:
        figures = make(plan, seed, weights, bars)
    Console().print(
        f"Wrote {weights}: verification AUC {figures['verification_auc']:.4f}, "
        f"rank-1 {figures['verification_rank1']:.3f} on people not seen in training",
        highlight=False,
        soft_wrap=True,
    )


def make(plan: PretrainPlan, seed: int, weights: Path, progress: Progress) -> dict[str, Any]:
    """Train, measure, and write ``weights`` with its manifest; returns the manifest's figures."""
    import time

    from common.models.manifest import save_weights
    from simulations.pretrain import pretrain

    made_from = origin(plan, seed, weights.stem)  # before anybody edits a file while this runs
    started = time.monotonic()
    made = pretrain(plan, seed, progress)
    seconds = time.monotonic() - started
    figures = {**measure(made, seed), "final_loss": round(made.losses[-1], 4), "train_s": round(seconds)}
    if made.spec.normalisation is None or made.spec.embedding_dim is None:
        raise ValueError("a loaded backbone declares both")
    save_weights(
        weights,
        made.state,
        architecture=plan.architecture,
        embedding_dim=made.spec.embedding_dim,
        normalisation=made.spec.normalisation,
        origin=made_from,
        figures=figures,
    )
    return figures


def measure(made: Pretrained, seed: int) -> dict[str, float]:
    """Verification figures on unseen people, of the weights as they are written: in half precision."""
    from common.models.architectures import build
    from common.models.backbone import Backbone
    from simulations.pretrain_quality import unseen_people, verification

    dim = made.spec.embedding_dim or 0
    network = build(made.spec.architecture, dim)
    full = {name: value.float() if value.is_floating_point() else value for name, value in made.state.items()}
    network.load_state_dict(full, assign=True)
    found = verification(Backbone(network, spec=made.spec, embedding_dim=dim).eval(), *unseen_people(seed))
    return {f"verification_{key}": round(value, 5) for key, value in found.items()}


def origin(plan: PretrainPlan, seed: int, name: str) -> dict[str, Any]:
    """What it takes to make the weights again."""
    import platform

    import numpy as np
    import torch

    from simulations.pretrain import PretrainPlan, renderer_hash

    changed = {
        key: value for key, value in plan.model_dump().items() if value != PretrainPlan.model_fields[key].default
    }
    words = ["phenofed pretrain --out DIR", f"--name {name}", f"--seed {seed}"]
    words += [f"--set {key}={value}" for key, value in sorted(changed.items())]
    return {
        "command": " ".join(words),
        "seed": seed,
        "plan": plan.model_dump(),
        "renderer_sha256": renderer_hash(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "processor": platform.machine(),
    }
