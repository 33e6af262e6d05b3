"""``phenofed coordinator train|resume``: lead a run that the operator signed and hospitals approved."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_EPILOG = "Exit codes: 0 done, 2 wrong usage, 3 plan or approvals, 6 weights, 7 training, 9 the run's folder."

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The relay's folder, with relay.yaml.")]
Listen = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="Where Flower's SuperLink listens; by default on 127.0.0.1, at the port that the plan names.",
    ),
]


def add_to(coordinator: typer.Typer) -> None:
    """Offer the commands under ``phenofed coordinator``."""
    for command in (train, resume):
        coordinator.command(epilog=_EPILOG)(command)


def train(
    folder: Folder,
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="The signed plan.")],
    approval: Annotated[
        list[Path], typer.Option(metavar="FILE", help="A hospital's approval, or a folder of them; repeatable.")
    ],
    backbone: Annotated[Path, typer.Option(metavar="FILE", help="The backbone that the plan names by its hash.")],
    parent: Annotated[
        Path | None, typer.Option(metavar="RELEASE", help="The release that the plan begins from, if any.")
    ] = None,
    listen: Listen = None,
) -> None:
    """Start a run, lead its rounds, and write its release.

    Only silos that the plan names and whose approvals are given are admitted. The plan must be signed by the
    consortium's offline key: phenofed consortium plan.

    Example: phenofed coordinator train relay spring.json --approval approvals/ --backbone iresnet50.safetensors
    """
    from common.consortium.console import say
    from server.training.leading import lead, listening
    from server.training.led_run import begin_run

    files = [found for path in approval for found in (sorted(path.glob("*.json")) if path.is_dir() else [path])]
    run = begin_run(folder, plan, files, backbone=backbone, parent=parent)
    release = lead(run, listen=listening(run, listen), say=say)
    say(f"run {run.plan.run} is done; its release is {release}")


def resume(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder, FOLDER/runs/NAME.")],
    listen: Listen = None,
) -> None:
    """Go on with a run after its newest checkpoint; with the same silos it comes to the same model to the bit.

    Example: phenofed coordinator resume relay/runs/spring
    """
    from common.consortium.console import say
    from server.training.leading import lead, listening
    from server.training.led_run import open_run

    run = open_run(run_folder)
    say(f"run {run.plan.run} goes on after round {run.checkpoint().round}")
    release = lead(run, listen=listening(run, listen), say=say)
    say(f"run {run.plan.run} is done; its release is {release}")
