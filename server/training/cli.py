"""``phenofed coordinator train|resume``: lead a run that the operator signed and hospitals approved."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from common.json_logs import LogFormat, start_logging

if TYPE_CHECKING:
    from server.training.led_run import LedRun

_EPILOG = (
    "Exit codes: 0 done, 2 wrong usage, 3 plan or approvals, 6 weights, 7 training, 9 the run's folder, 14 Flower "
    "ended by itself (resume goes on), 130 interrupted."
)

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The relay's folder, with relay.yaml.")]
Listen = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="Where Flower's SuperLink listens; by default on 127.0.0.1, at the port that the plan names.",
    ),
]
MetricsPort = Annotated[
    int | None,
    typer.Option(
        "--metrics-port",
        min=0,
        max=65535,
        help="Port of 127.0.0.1 for Prometheus; by default training_metrics_port of relay.yaml, 0: any free one.",
    ),
]
Form = Annotated[
    LogFormat, typer.Option("--log-format", help="json: one object a line on standard error, for log collectors.")
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
    metrics_port: MetricsPort = None,
    log_format: Form = LogFormat.TEXT,
    prepare: Annotated[
        bool, typer.Option("--prepare", help="Only make the run's folder; resume leads it.")
    ] = False,
) -> None:
    """Start a run, lead its rounds, and write its release.

    Only silos that the plan names and whose approvals are given are admitted. The plan must be signed by the
    consortium's offline key: phenofed consortium plan.

    Example: phenofed coordinator train relay spring.json --approval approvals/ --backbone iresnet50.safetensors
    """
    from common.consortium.console import say
    from server.training.led_run import begin_run

    files = [found for path in approval for found in (sorted(path.glob("*.json")) if path.is_dir() else [path])]
    run = begin_run(folder, plan, files, backbone=backbone, parent=parent)
    if prepare:
        say(f"run {run.plan.run} is ready; lead it with phenofed coordinator resume {run.path}")
    else:
        _lead(run, listen, metrics_port, log_format)


def resume(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder, FOLDER/runs/NAME.")],
    listen: Listen = None,
    metrics_port: MetricsPort = None,
    log_format: Form = LogFormat.TEXT,
) -> None:
    """Go on with a run after its newest checkpoint; with the same silos it comes to the same model to the bit.

    Example: phenofed coordinator resume relay/runs/spring
    """
    from common.consortium.console import say
    from server.training.led_run import open_run

    run = open_run(run_folder)
    if log_format is LogFormat.TEXT:
        say(f"run {run.plan.run} goes on after round {run.checkpoint().round}")
    _lead(run, listen, metrics_port, log_format)


def _lead(run: LedRun, listen: str | None, metrics_port: int | None, log_format: LogFormat) -> None:
    from common.consortium.console import say
    from server.training.leading import lead, listening

    address = listening(run, listen)
    if log_format is LogFormat.JSON:
        # The log's lines, those of the ServerApp among them, in place of sentences.
        start_logging(log_format, verbose=True)
        lead(run, listen=address, say=lambda text: None, metrics_port=metrics_port, echo=_to_standard_error)
        return
    release = lead(run, listen=address, say=say, metrics_port=metrics_port)
    say(f"run {run.plan.run} is done; its release is {release}")


def _to_standard_error(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
