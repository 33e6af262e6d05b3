"""What a cohort holds, for people at a terminal. Shows counts and pseudonymous ids, never a photo."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from common.cohort.importing import Imported
from common.cohort.reading import ReadResult, Refused, printable
from common.cohort.schema import Cohort, Purpose
from common.cohort.splits import Protocol

FREQUENT_FROM = 7  # patients; the field's "more than six"


def show(result: ReadResult, imported: Imported | None) -> None:
    """Print the cohort, its silos, warnings on photos and every refused row."""
    console = Console()
    cohort = imported.cohort if imported else result.cohort
    console.print(_overview(cohort, result, imported))
    if result.protocol is not None and result.protocol.silo_of:
        console.print(_silos(result.protocol, cohort))
    if len({patient.syndrome for patient in cohort.patients if patient.syndrome is not None}) < 2:
        console.print("note: enough for a gallery; training and simulation need patients of two syndromes or more")
    for note in result.notes:
        console.print(_plain(f"note: {note}"))
    if imported is not None:
        warned = Counter(warning for verdict in imported.verdicts.values() for warning in verdict.warnings)
        for warning, count in warned.most_common():
            console.print(_plain(f"warning: {count} photos {warning}"))
        for pair in imported.duplicates:
            console.print(
                _plain(f"warning: photos {pair.photo} and {pair.other} of two patients are nearly the same")
            )
    refusals([*result.refused, *(imported.refused if imported else [])])


def refusals(refused: Sequence[Refused]) -> None:
    """Print every refused row."""
    if not refused:
        return
    table = Table(title=f"{len(refused)} refused rows", title_justify="left")
    table.add_column("file", overflow="fold")
    table.add_column("line", justify="right")
    table.add_column("reason", overflow="fold")
    for entry in refused:
        table.add_row(_plain(entry.file), str(entry.line or ""), _plain(entry.reason))
    Console().print(table)


def say(text: str) -> None:
    """Print one line."""
    Console().print(_plain(text))


@contextmanager
def progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on the error stream, shown where that is a terminal; call what it gives with (done, all)."""
    columns = (TextColumn("photos"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("photos", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _overview(cohort: Cohort, result: ReadResult, imported: Imported | None) -> Table:
    sizes = Counter(patient.syndrome for patient in cohort.patients if patient.syndrome is not None)
    frequent = sum(size >= FREQUENT_FROM for size in sizes.values())
    today = datetime.datetime.now(tz=datetime.UTC).date()
    table = Table(title=_plain(f"cohort {cohort.name}"), title_justify="left", show_header=False)
    rows: list[tuple[str, int | str]] = [
        ("patients", len(cohort.patients)),
        ("photos", sum(len(patient.photos) for patient in cohort.patients)),
        ("syndromes", len(sizes)),
        (f"  frequent ({FREQUENT_FROM} patients or more)", frequent),
        ("  rare", len(sizes) - frequent),
        ("unsolved patients", sum(patient.syndrome is None for patient in cohort.patients)),
    ]
    rows += [(f"may {p.value} today", len(cohort.for_purpose(p, today).patients)) for p in Purpose]
    protocol = result.protocol and result.protocol.restricted_to(photo.id for _, photo in cohort.photos())
    if protocol is not None:
        rows += [
            ("train / val photos", f"{len(protocol.train)} / {len(protocol.val)}"),
            (
                "frequent gallery / test photos",
                f"{len(protocol.frequent_gallery)} / {len(protocol.frequent_test)}",
            ),
            ("rare splits", len(protocol.rare)),
        ]
    rows.append(("refused rows", len(result.refused) + (len(imported.refused) if imported else 0)))
    if imported is not None:
        rows.append(("photos a second", f"{imported.images_per_s:.0f}"))
    for name, value in rows:
        table.add_row(name, f"{value}")
    return table


def _silos(protocol: Protocol, cohort: Cohort) -> Table:
    table = Table("silo", title="silos", title_justify="left")
    for column in ("patients", "photos", "syndromes"):
        table.add_column(column, justify="right")
    here = [photo.id for _, photo in cohort.photos() if photo.id in protocol.silo_of]
    names = sorted(set(protocol.silo_of.values()), key=lambda name: (len(name), name))
    for name in names:
        photos = [photo for photo in here if protocol.silo_of[photo] == name]
        patients = {protocol.patient_of[photo] for photo in photos}
        labels = {protocol.label_of[photo] for photo in photos}
        table.add_row(name, str(len(patients)), str(len(photos)), str(len(labels)))
    return table


def _plain(text: str) -> Text:
    """Text without markup and without characters that could steer a terminal."""
    return Text(printable(text))
