"""``phenofed attack``: measure what an insider of a consortium learns, on the patients of a finished run."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from simulations.attacks.differencing import Differenced
    from simulations.attacks.exposure import Exposed
    from simulations.attacks.prior import Recovered
    from simulations.finished import FinishedRun

SCHEMA = 1
FEWEST_SHOWN = 8
ASSUMED = (
    "Assumed: a hospital of the consortium with a changed querier, which reads the decrypted sums of its panel; a "
    "row that one silo alone holds. Patients who share faces, as morphs do, are recovered more easily."
)


class Attack(StrEnum):
    """What is measured."""

    prior = "prior"
    differencing = "differencing"
    exposure = "exposure"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(attack)


def attack(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    names: Annotated[
        list[Attack] | None, typer.Option("--only", help="One attack; repeat for several. Default: all.")
    ] = None,
    model: Annotated[str, typer.Option(help="Whose encodings: federated, pretrained, ...")] = "federated",
    seed: Annotated[int, typer.Option(min=0, help="Decides who is attacked, and the noise.")] = 0,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write the figures as JSON.")
    ] = None,
) -> None:
    """Attack encrypted ranking as an insider could, with a finished run's patients as victims.

    prior: chosen questions and embeddings of other patients recover a prototype. differencing: two gallery epochs
    are subtracted, with the rule for changes and without. exposure: which rows masks cannot hide.

    Examples:

      phenofed attack runs/facebench

      phenofed attack runs/facebench --only prior --model pretrained --json prior.json
    """
    from simulations.finished import open_run

    finished, console = open_run(run, model=model), Console()
    figures: dict[str, list[Any]] = {}
    for name in dict.fromkeys(names or Attack):
        lines, tables = _run(name, finished, seed)
        figures[name.value] = [asdict(line) for line in lines]
        for table in tables:
            console.print(table)
    console.print(ASSUMED, style="dim")
    if json_file is not None:
        from common.storage import write_json

        write_json(
            json_file, {"schema": SCHEMA, "run": run.name, "model": model, "seed": seed, "figures": figures}
        )
        console.print(f"Wrote {json_file}", highlight=False, soft_wrap=True)


def _run(name: Attack, finished: FinishedRun, seed: int) -> tuple[list[Any], list[Table]]:
    from simulations.attacks import differencing, exposure, prior
    from simulations.attacks.insider import Patients

    if name is Attack.exposure:
        exposed = exposure.measure(finished)
        return exposed, [_exposure(exposed)]
    patients = Patients.of(finished)
    if name is Attack.differencing:
        changed = differencing.measure(patients, seed=seed)
        return changed, [_differencing(changed)]
    recovered = prior.measure(patients, seed=seed)
    profiles = dict.fromkeys(line.profile for line in recovered)
    return recovered, [_prior(of, [line for line in recovered if line.profile == of]) for of in profiles]


def _prior(profile: str, lines: list[Recovered]) -> Table:
    asked = {line.queries: line.spent for line in lines if line.queries >= FEWEST_SHOWN}
    table = _table(
        f"Prototypes recovered with the noise of '{profile}', by queries asked:\n"
        "cosine/re-identified/confirmed in percent"
    )
    for column in ("known", "row of", *(f"{count}{'*' if spent else ''}" for count, spent in asked.items())):
        table.add_column(column, justify="right", no_wrap=True)
    cells = {(line.known, line.patients, line.queries): _percent(line) for line in lines}
    for known, patients in dict.fromkeys((line.known, line.patients) for line in lines):
        found = (cells[known, patients, count] for count in asked)
        table.add_row(f"{known:.0%}", str(patients), *found)
    table.caption = "* the budget of a year is spent"
    return table


def _percent(line: Recovered) -> str:
    return "/".join(f"{100 * value:.0f}" for value in (line.cosine, line.reidentified, line.confirmed))


def _differencing(lines: list[Differenced]) -> Table:
    table = _table("Two gallery epochs subtracted: cosine/re-identified %, by queries in each")
    profiles = {line.profile: f"{line.profile}\n{line.queries}+{line.queries}" for line in lines}
    for column in ("change", "rule", "answered", *profiles.values()):
        table.add_column(column, justify="left" if column == "change" else "right", no_wrap=True)
    cells = {(line.change, line.rule, line.profile): line for line in lines}
    for change, rule in dict.fromkeys((line.change, line.rule) for line in lines):
        found = [cells[change, rule, profile] for profile in profiles]
        shown = ("-" if one.cosine is None else f"{one.cosine:.2f}/{100 * one.reidentified:.0f}" for one in found)
        table.add_row(change, "yes" if rule else "no", f"{found[0].answered:.0%}", *shown)
    return table


def _exposure(lines: list[Exposed]) -> Table:
    table = _table("What masks cannot hide: pairs of a querier and a syndrome")
    for column in ("profile", "answered", "pairs", "one silo holds it", "one patient"):
        table.add_column(column, justify="left" if column == "profile" else "right", no_wrap=True)
    for line in lines:
        numbers = (line.answered, line.one_silo, line.one_patient)
        table.add_row(line.profile, f"{line.answerable}/{line.syndromes}", *map(str, numbers))
    return table


def _table(title: str) -> Table:
    return Table(
        title=title, title_justify="left", caption_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
