"""``phenofed rank``: a clinician asks the consortium about a patient."""

from __future__ import annotations

import csv
import importlib.metadata
import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from common.errors import ConfigError, PhotoError

if TYPE_CHECKING:
    from client.clinic.ranking_list import RankingList

AGAINST_GROUP = "phenofed.rank_against"
MOST_PATIENTS = 64


class Format(StrEnum):
    """How the list is printed."""

    TABLE = "table"
    JSON = "json"
    TSV = "tsv"


def register(app: typer.Typer) -> None:
    """Offer ``phenofed rank``."""
    app.command(rich_help_panel="Clinic")(rank)


def rank(
    photos: Annotated[list[Path] | None, typer.Argument(help="Photos of one patient.", show_default=False)] = None,
    patient: Annotated[
        str, typer.Option("--patient", metavar="REF", help="Your own reference; it never leaves the hospital.")
    ] = "",
    batch: Annotated[
        Path | None,
        typer.Option(help=f"CSV with columns patient,photo: up to {MOST_PATIENTS} patients at once."),
    ] = None,
    workspace: Annotated[
        Path, typer.Option(envvar="PHENOFED_WORKSPACE", help="The silo's workspace, or its clinic's socket.")
    ] = Path("silo"),
    against: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Rank in clear against a finished simulation in place of hospitals."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, max=1000, help="How many syndromes to list.")] = 10,
    form: Annotated[Format, typer.Option("--format", help="table, json or tsv.")] = Format.TABLE,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep crops and embedding in the workspace; else nothing stays.")
    ] = False,
    aligned: Annotated[bool, typer.Option(help="The photos are aligned 112x112 crops already.")] = False,
    detector: Annotated[Path | None, typer.Option(help="With --against: YuNet face detector (ONNX).")] = None,
    detector_sha256: Annotated[
        str | None, typer.Option(help="With --against: the detector file's SHA-256.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Rank the syndromes for a patient over all hospitals, under encryption.

    The silo's agent encrypts what the network makes of the photos; no photo, crop or clear embedding leaves it.
    Research use only. Any face yields a list, an unaffected one too; the true disorder may be absent from it.
    """
    form = Format.JSON if as_json else form
    if against is not None:
        options = {"top": top, "aligned": aligned, "detector": detector, "detector_sha256": detector_sha256}
        _show([_in_clear(photos or [], against, patient=patient or "new patient", **options)], form, batch=False)
        return
    from client.clinic.ranking_list import from_json
    from client.local.clinic_door import door_at
    from client.local.door import call
    from common.faces.decode import read_bytes

    patients = _patients(photos or [], patient, batch)
    contents = [read_bytes(path, name=str(path)) for _, paths in patients for path in paths]
    values = {"patients": [[reference, len(paths)] for reference, paths in patients]}
    answer = call(
        door_at(workspace),
        "rank",
        {**values, "top": top, "keep": keep, "aligned": aligned},
        contents,
    )
    _show([from_json(item) for item in answer["lists"]], form, batch=batch is not None)


def _show(lists: list[RankingList], form: Format, *, batch: bool) -> None:
    from client.clinic.ranking_list import as_table, as_tsv

    if form is Format.JSON:
        typer.echo(json.dumps([item.to_json() for item in lists] if batch else lists[0].to_json(), indent=1))
        return
    for item in lists:
        if form is Format.TSV:
            typer.echo((f"# {item.patient}\n" if batch else "") + as_tsv(item), nl=False)
        else:
            Console().print(as_table(item))


def _patients(photos: list[Path], patient: str, batch: Path | None) -> list[tuple[str, list[Path]]]:
    if batch is not None:
        if photos or patient:
            raise ConfigError("--batch stands beside photos", remedy="give one patient's photos, or a batch")
        return _read_batch(batch)
    if not photos:
        raise PhotoError("there is no photo", remedy="phenofed rank PHOTO... --patient REF")
    if not patient:
        raise ConfigError("the patient has no reference", remedy="add --patient REF; it stays in the hospital")
    return [(patient, photos)]


def _read_batch(path: Path) -> list[tuple[str, list[Path]]]:
    """Patients in order of their first row; photo paths are relative to the file."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"cannot read {path} ({error})", remedy="give a CSV file with patient,photo") from error
    found: dict[str, list[Path]] = {}
    for number, row in enumerate(rows, 2):
        if not row.get("patient") or not row.get("photo"):
            raise ConfigError(f"{path}:{number}: no patient or no photo", remedy="columns are patient,photo")
        found.setdefault(row["patient"], []).append(path.parent / row["photo"])
    if not 1 <= len(found) <= MOST_PATIENTS:
        raise ConfigError(
            f"{path} has {len(found)} patients", remedy=f"ask for 1 to {MOST_PATIENTS} patients at once"
        )
    return list(found.items())


def _in_clear(photos: list[Path], run: Path, **options: Any) -> RankingList:
    for point in importlib.metadata.entry_points(group=AGAINST_GROUP):
        ranking: RankingList = point.load()(photos, run, **options)
        return ranking
    raise ConfigError(
        "simulations are not installed here", remedy="install phenofed whole, or leave --against out"
    )
