"""``phenofed cohort check|import``: look at a cohort as it lies on disk, or store it as crops."""

from __future__ import annotations

import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from common.cohort.schema import Consent, Purpose
from common.errors import CohortError, ConfigError, WeightsError

if TYPE_CHECKING:
    from common.cohort.importing import DetectorFile, Imported
    from common.cohort.reading import ReadResult

_COHORTS = "Look at cohorts of patients' photos and bring them in."
_EPILOG = "Exit codes: 0 done, 2 wrong usage, 3 settings, 4 cohort, 6 face detector."


class Format(StrEnum):
    """How a cohort lies on disk."""

    AUTO = "auto"
    GMDB = "gmdb"
    FOLDER = "folder"
    PHENOPACKETS = "phenopackets"


CohortPath = Annotated[Path, typer.Argument(metavar="PATH", help="The cohort's folder, or its CSV file.")]
FormatOption = Annotated[
    Format,
    typer.Option(
        "--format",
        "-f",
        help="gmdb: the layout of the GestaltMatcher Database; folder: photos with one CSV file; phenopackets: "
        "GA4GH phenopackets with photo paths; auto: told by the files.",
    ),
]
VersionOption = Annotated[
    str | None, typer.Option("--label", help="GMDB: version label, such as v1.1.0, where there are several.")
]
PartitionOption = Annotated[
    str | None,
    typer.Option(help="GMDB: federated split files to read: uniform, disjoint, site, or their literal prefix."),
]
SilosOption = Annotated[int, typer.Option(min=1, max=9999, help="GMDB: number of silos of the partition.")]
DetectorOption = Annotated[
    Path | None, typer.Option(help="YuNet face detector (ONNX), for photos that come without landmarks.")
]
HashOption = Annotated[
    str | None, typer.Option("--detector-sha256", help="The SHA-256 that the detector must have.")
]
PurposesOption = Annotated[
    str,
    typer.Option(
        help="What patients agreed to where their rows say nothing: train, match, discover, display, or none."
    ),
]
ExpiresOption = Annotated[
    str | None, typer.Option("--expires", help="Last day of that agreement, such as 2031-12-31.")
]
ProcessesOption = Annotated[int, typer.Option(min=1, max=64, help="Processes that decode photos.")]
OnlyOption = Annotated[
    Purpose | None,
    typer.Option(help="Leave out patients whose consent does not cover this purpose today. Default: any purpose."),
]
StrictOption = Annotated[bool, typer.Option("--strict", help="Fail with exit code 4 if anything is refused.")]


def register(app: typer.Typer) -> None:
    """Add ``cohort`` and its commands to the application."""
    cohort = typer.Typer(help=_COHORTS, no_args_is_help=True, epilog=_EPILOG)
    cohort.command("check", epilog=_EPILOG)(check)
    cohort.command("import", epilog=_EPILOG)(bring_in)
    app.add_typer(cohort, name="cohort")


def check(
    path: CohortPath,
    layout: FormatOption = Format.AUTO,
    label: VersionOption = None,
    partition: PartitionOption = None,
    silos: SilosOption = 4,
    detector: DetectorOption = None,
    detector_sha256: HashOption = None,
    purposes: PurposesOption = "train,match",
    expires: ExpiresOption = None,
    only: OnlyOption = None,
    processes: ProcessesOption = 1,
    photos: Annotated[
        bool, typer.Option("--photos/--tables", help="Decode the photos, or read tables only.")
    ] = True,
    strict: StrictOption = False,
) -> None:
    """Read a cohort, judge every photo, print what it holds and every refused row. Writes nothing.

    Example: phenofed cohort check gmdb/v1.1.0 --partition uniform --silos 4
    """
    from common.cohort import summary

    consent, weights = stated_consent(purposes, expires), detector_file(detector, detector_sha256)
    result = read_source(path, layout, label, partition, silos, consent).permitted(_today(), only)
    imported = _import(result, weights, processes) if photos else None
    summary.show(result, imported)
    _finish(result, imported, strict)


def bring_in(
    path: CohortPath,
    out: Annotated[Path, typer.Option("--out", "-o", help="New folder for records and crops.")],
    layout: FormatOption = Format.AUTO,
    label: VersionOption = None,
    partition: PartitionOption = None,
    silos: SilosOption = 4,
    detector: DetectorOption = None,
    detector_sha256: HashOption = None,
    purposes: PurposesOption = "train,match",
    expires: ExpiresOption = None,
    only: OnlyOption = None,
    processes: ProcessesOption = 1,
    strict: StrictOption = False,
) -> None:
    """Bring a cohort in: aligned 112x112 crops and pseudonymous records, written whole or not at all.

    Names, addresses and the photos' own metadata do not come in.

    Example: phenofed cohort import clinic/ --out cohorts/clinic --detector yunet.onnx --detector-sha256 104e...
    """
    from common.cohort import store, summary

    consent, weights = stated_consent(purposes, expires), detector_file(detector, detector_sha256)
    store.check_target(out)
    result = read_source(path, layout, label, partition, silos, consent).permitted(_today(), only)
    imported = _import(result, weights, processes)
    if strict:
        summary.show(result, imported)
        _finish(result, imported, strict)
    refused = [*result.refused, *imported.refused]
    store.save(out, imported.cohort, imported.crops, protocol=result.protocol, refused=refused)
    if not strict:
        summary.show(result, imported)
    summary.say(f"stored in {out}")


def read_source(
    path: Path, layout: Format, label: str | None, partition: str | None, silos: int, consent: Consent
) -> ReadResult:
    """The cohort of a source, whichever layout it has.

    Raises:
        CohortError: it cannot be read.
    """
    from common.cohort import folder, gmdb, phenopackets

    match _told(path) if layout is Format.AUTO else layout:
        case Format.GMDB:
            return gmdb.read(path, version=label, partition=partition, silos=silos, consent=consent)
        case Format.FOLDER:
            return folder.read(path, consent=consent)
        case _:
            return phenopackets.read(path, consent=consent)


def _today() -> datetime.date:
    return datetime.datetime.now(tz=datetime.UTC).date()


def _told(path: Path) -> Format:
    """The layout by the files that lie at ``path``."""
    if not path.exists():
        raise CohortError(f"{path} does not exist", remedy="check the path")
    if path.is_file():
        return Format.PHENOPACKETS if path.suffix.lower() == ".json" else Format.FOLDER
    if (path / "crops.npy").is_file():
        raise CohortError(f"{path} is a stored cohort", remedy="name the folder that it was imported from")
    inner = [path, *sorted(p for p in path.iterdir() if p.is_dir())]
    if any((p / "gmdb_metadata").is_dir() for p in inner):
        return Format.GMDB
    if any(p.suffix.lower() == ".csv" for p in path.iterdir()):
        return Format.FOLDER
    if next(path.rglob("*.json"), None) is not None:
        return Format.PHENOPACKETS
    raise CohortError(
        f"{path} holds no cohort that is known here", remedy="see 'phenofed cohort check --help' for the layouts"
    )


def _import(result: ReadResult, detector: DetectorFile | None, processes: int) -> Imported:
    from common.cohort import summary
    from common.cohort.importing import import_photos
    from common.cohort.reading import require_patients

    with summary.progress() as advance:
        imported = import_photos(result.cohort, detector=detector, processes=processes, progress=advance)
    try:
        require_patients(imported.cohort)
    except CohortError:
        # What was refused is the way to mend it.
        summary.refusals([*result.refused, *imported.refused])
        raise
    return imported


def _finish(result: ReadResult, imported: Imported | None, strict: bool) -> None:
    from common.cohort.reading import require_patients

    require_patients((imported or result).cohort)
    count = len(result.refused) + (len(imported.refused) if imported else 0)
    if strict and count:
        raise CohortError(f"{count} rows are refused", remedy="mend them, or leave out --strict")


def stated_consent(purposes: str, expires: str | None) -> Consent:
    """The consent that ``--purposes`` and ``--expires`` state.

    Raises:
        ConfigError: an unknown purpose, or no date.
    """
    names = [name.strip().lower() for name in purposes.split(",") if name.strip()]
    if names == ["none"]:
        names = []
    unknown = [name for name in names if name not in set(Purpose)]
    if unknown:
        known = ", ".join(Purpose)
        raise ConfigError(f"--purposes: '{unknown[0]}' is no purpose", remedy=f"choose among {known}, or none")
    try:
        until = datetime.date.fromisoformat(expires) if expires else None
    except ValueError as error:
        raise ConfigError(f"--expires: '{expires}' is no date", remedy="write it as 2031-12-31") from error
    return Consent(purposes=frozenset(Purpose(name) for name in names), expires=until)


def detector_file(path: Path | None, sha256: str | None) -> DetectorFile | None:
    """The detector that ``--detector`` names, not yet opened.

    Raises:
        WeightsError: it comes without its hash.
    """
    if path is None:
        return None
    if not sha256:
        raise WeightsError(
            "--detector comes without --detector-sha256", remedy="give the hash of the file that you trust"
        )
    from common.cohort.importing import DetectorFile

    return DetectorFile(path, sha256)
