"""``phenofed rerank``: the encrypted ranking of a finished run, whole, under each profile and kernel."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from simulations.rerank import Reranked

SCHEMA = 1


class ProfileName(StrEnum):
    """Disclosure profiles, the weakest first."""

    simulation = "simulation"
    open = "open"
    standard = "standard"
    strict = "strict"


class KernelName(StrEnum):
    """Scores that silos compute under encryption."""

    linear = "linear"
    quadratic = "quadratic"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(rerank)


def rerank(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    profiles: Annotated[
        list[ProfileName] | None,
        typer.Option("--profile", help="Floors and noise; repeat for several. Default: all."),
    ] = None,
    kernels: Annotated[
        list[KernelName] | None, typer.Option("--kernel", help="Repeat for several. Default: both.")
    ] = None,
    model: Annotated[str, typer.Option(help="Whose encodings: federated, pretrained, ...")] = "federated",
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write the figures as JSON.")
    ] = None,
) -> None:
    """Rank every test patient of a finished run again, under encryption and in clear: all settings and splits.

    Nothing is trained or encoded anew. Budgets are not enforced: the notes say what asking would have spent.

    Examples:

      phenofed rerank runs/facebench --profile simulation --kernel linear

      phenofed rerank runs/facebench --json rerank.json
    """
    from simulations.console import LIMITS, Bars
    from simulations.rerank import rerank as reranked

    with Bars(Console(stderr=True)) as bars:
        lines = reranked(
            run,
            profiles=[item.value for item in profiles or ProfileName],
            kernels=[item.value for item in kernels or KernelName],
            model=model,
            progress=bars,
        )
    console = Console()
    for kernel in dict.fromkeys(line.kernel for line in lines):
        console.print(_table(kernel, [line for line in lines if line.kernel == kernel]))
    console.print(
        "answered: syndromes, of those in the gallery. in clear: by the formula, without floors. "
        "moved: the true syndrome's place differs from clear under the same floors. withheld: it is not answered. "
        f"The hospital that asked most sent {max((line.most_asked for line in lines), default=0)} queries.",
        highlight=False,
    )
    console.print(LIMITS, style="dim")
    if json_file is not None:
        from common.storage import write_json

        write_json(
            json_file, {"schema": SCHEMA, "run": run.name, "model": model, "rows": [asdict(x) for x in lines]}
        )
        console.print(f"Wrote {json_file}", highlight=False, soft_wrap=True)


def _table(kernel: str, lines: list[Reranked]) -> Table:
    title = f"Macro top-1/5/10 in percent, {kernel} kernel"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=0)
    for column in ("profile", "setting"):
        table.add_column(column, no_wrap=True)
    for column in ("answered", "encrypted", "in clear", "moved", "withheld"):
        table.add_column(column, justify="right", no_wrap=True)
    for line in lines:
        table.add_row(
            line.profile,
            line.setting,
            f"{line.answerable:.3g}/{line.syndromes:.3g}",
            _percent(line.encrypted),
            _percent(line.clear),
            f"{line.moved}/{line.rankings}",
            str(line.withheld),
        )
    return table


def _percent(figures: dict[str, float]) -> str:
    return "/".join(f"{100 * figures[f'top{k}']:.1f}" for k in (1, 5, 10))
