"""The researcher's commands: thin callers of simulations.run and its neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from simulations import attack_cli, rerank_cli

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the scenario, such as training.rounds=3."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier run in the output folder.")]


class What(StrEnum):
    """What can be exported from a run."""

    encodings = "encodings"


def register(app: typer.Typer) -> None:
    """Add demo, simulate, report, compare, export, rerank and attack."""
    app.command()(demo)
    app.command()(simulate)
    app.command()(report)
    app.command()(compare)
    app.command()(export)
    rerank_cli.register(app)
    attack_cli.register(app)


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder of the run.")] = Path("runs/demo"),
    overrides: Overrides = None,
) -> None:
    """Train four synthetic hospitals together and rank new patients under encryption.

    Takes about a minute on two cores, needs no data and no network, and writes a report. A demo that is
    already in the folder is replaced.
    """
    _run("demo", out, overrides, overwrite=True)


def simulate(
    scenario: Annotated[
        str | None,
        typer.Argument(help="A scenario file, or the name of one that phenofed ships: demo, facebench, smoke."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the run; default runs/NAME.")] = None,
    overrides: Overrides = None,
    resume: Annotated[
        Path | None, typer.Option("--resume", metavar="DIR", help="Go on with the run in DIR.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Run a scenario: pretrained, local, federated and centralised, with the same patients and rounds.

    The folder then holds results.json, predictions.csv, all_encodings.csv and report.html. Ctrl-C leaves a run
    that --resume continues to the same result.

    Examples:

      phenofed simulate demo --set training.rounds=2

      phenofed simulate simulations/scenarios/facebench.yaml --set cohort.path=DIR --set backbone.path=FILE

      phenofed simulate --resume runs/facebench
    """
    if (scenario is None) == (resume is None):
        raise typer.BadParameter("give a scenario, or --resume DIR")
    if resume is not None:
        if overrides or out or overwrite:
            raise typer.BadParameter("--resume goes on with the scenario as it is, in its own folder")
        _resume(resume)
    elif scenario is not None:
        _run(scenario, out, overrides, overwrite=overwrite)


def report(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
) -> None:
    """Write report.html of a finished run anew, and print its table."""
    from simulations.console import show_results
    from simulations.folder import RunFolder
    from simulations.report import write_report

    folder = RunFolder(run)
    results = folder.read_results()
    write_report(folder)
    show_results(Console(), run, results)


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs.")],
    out: Annotated[Path | None, typer.Option("--out", help="Markdown file to write.")] = None,
) -> None:
    """Put runs side by side: means over seeds, intervals over seeds and patients, as Markdown tables."""
    from common.storage import write_text
    from simulations.compare import compare as compared
    from simulations.compare import markdown

    text = markdown(compared(runs))
    if out is None:
        typer.echo(text, nl=False)
    else:
        write_text(out, text)


def export(
    what: Annotated[What, typer.Argument(help="encodings: all_encodings.csv in the GestaltMatcher format.")],
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    model: Annotated[
        str, typer.Option(help="Whose encodings: federated, pretrained, centralised, ...")
    ] = "federated",
    out: Annotated[Path | None, typer.Option("--out", help="File to write; default in the run's folder.")] = None,
) -> None:
    """Export what a run computed, for a laboratory's own evaluation."""
    from simulations.export import export_encodings

    path = export_encodings(run, model=model, out=out)
    Console().print(f"Wrote {path}", highlight=False, soft_wrap=True)


def _run(scenario: str, out: Path | None, overrides: list[str] | None, *, overwrite: bool) -> None:
    from simulations.console import Bars, show_results
    from simulations.running import run
    from simulations.scenario import load_scenario

    chosen = load_scenario(scenario, overrides=overrides or [])
    folder = out or Path("runs") / chosen.name
    with _resumable(folder), Bars(Console(stderr=True)) as bars:
        finished = run(chosen, folder, overwrite=overwrite, progress=bars)
    show_results(Console(), folder, finished.results)


def _resume(folder: Path) -> None:
    from simulations.console import Bars, show_results
    from simulations.running import resume

    with _resumable(folder), Bars(Console(stderr=True)) as bars:
        finished = resume(folder, progress=bars)
    show_results(Console(), folder, finished.results)


@contextmanager
def _resumable(folder: Path) -> Iterator[None]:
    """Tell on Ctrl-C how the run goes on."""
    try:
        yield
    except KeyboardInterrupt:
        Console(stderr=True).print(
            f"Continue with: phenofed simulate --resume {folder}", highlight=False, soft_wrap=True
        )
        raise
