"""``phenofed bench``: measure what phenofed costs on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from simulations.benchmarks import Benchmark
    from simulations.benchmarks.bench import Measured
    from simulations.scenario import Scenario

SCHEMA = 1


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="bench")(bench_command)


def bench_command(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="training, embedding, import, evaluation, ranking, or all."),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write the figures as JSON.")
    ] = None,
    scenario: Annotated[
        str, typer.Option("--scenario", help="A scenario file, or the name of one that phenofed ships.")
    ] = "demo",
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Override a key of the scenario, such as training.rounds=3."
        ),
    ] = None,
    repeat: Annotated[int, typer.Option("--repeat", min=1, max=100, help="How often to measure.")] = 5,
    threads: Annotated[
        int,
        typer.Option("--threads", min=1, max=1024, help="Threads to compute with, whatever the scenario says."),
    ] = 1,
    listed: Annotated[bool, typer.Option("--list", help="List the benchmarks and exit.")] = False,
) -> None:
    """Measure training, embedding, import, evaluation or encrypted ranking, on synthetic data by default.

    Times are CPU-seconds of this process and hold on a busy machine too. That needs one thread: several wait
    for each other in a loop, which is counted as work. Working files lie in the system's temporary folder and
    are removed at the end.

    The JSON file holds {"schema": 1, "name": NAME, "figures": {...}, "environment": {...}}.

    Examples:

      phenofed bench training

      phenofed bench all --json bench.json

      phenofed bench embedding --scenario facebench.yaml --set cohort.path=DIR --set backbone.path=FILE
    """
    from simulations.benchmarks import BENCHMARKS, chosen

    if listed:
        _show_list(BENCHMARKS)
        return
    if name is None:
        raise typer.BadParameter("give a NAME, or --list", param_hint="NAME")
    benchmarks = chosen(name)

    from simulations.scenario import load_scenario

    settings = load_scenario(scenario, overrides=overrides or [])
    figures, environment = _measure(benchmarks, settings.model_copy(update={"threads": threads}), repeat)
    if json_file is not None:
        from common.storage import write_json

        write_json(json_file, {"schema": SCHEMA, "name": name, "figures": figures, "environment": environment})
        Console().print(f"Wrote {json_file}", highlight=False, soft_wrap=True)


def _measure(
    benchmarks: dict[str, Benchmark], scenario: Scenario, repeat: int
) -> tuple[dict[str, float], dict[str, Any]]:
    """Run the benchmarks over one cohort, print each, and give all figures and the environment."""
    import tempfile

    import torch

    from simulations import environment
    from simulations.benchmarks.bench import Bench
    from simulations.benchmarks.clock import peak_rss_mb
    from simulations.memory import reuse_freed_memory

    console, progress = Console(), Console(stderr=True)
    figures: dict[str, float] = {}
    before = torch.get_num_threads()
    torch.set_num_threads(scenario.threads or 1)
    reuse_freed_memory()  # else page faults, which come and go with the heap's layout, hide what is measured
    try:
        with tempfile.TemporaryDirectory(prefix="phenofed-bench-") as folder:
            bench = Bench(scenario, Path(folder), repeat, say=lambda line: progress.print(line, style="dim"))
            for name, benchmark in benchmarks.items():
                measured = benchmark.measure(bench)
                figures |= measured.figures
                _show(console, name, benchmark, measured)
            figures["peak_rss_mb"] = peak_rss_mb()
            console.print(
                f"Scenario '{scenario.name}', {torch.get_num_threads()} thread(s), at most "
                f"{figures['peak_rss_mb']:.0f} MB resident.",
                highlight=False,
            )
            return figures, environment.describe(scenario, bench.cohort)
    finally:
        torch.set_num_threads(before)


def _show(console: Console, name: str, benchmark: Benchmark, measured: Measured) -> None:
    table = Table()
    for index, column in enumerate(measured.columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    for row in measured.rows:
        table.add_row(*row)
    console.print(f"[bold]{name}[/]: {benchmark.summary}", highlight=False)
    console.print(table)
    for note in measured.notes:
        console.print(note, highlight=False)


def _show_list(benchmarks: Any) -> None:
    table = Table("name", "measures", "figure")
    for name, benchmark in benchmarks.items():
        table.add_row(name, benchmark.summary, benchmark.key)
    Console().print(table)
