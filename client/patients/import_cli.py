"""``phenofed silo import``: patients of a source into the workspace."""

from __future__ import annotations

import datetime
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from common.cohort import cli as cohorts
from common.errors import PhenofedError

if TYPE_CHECKING:
    from client.patients.importing import Brought

Folder = Annotated[Path, typer.Argument(metavar="WORKSPACE", help="The silo's folder.")]


def bring_in(
    folder: Folder,
    source: cohorts.CohortPath,
    layout: cohorts.FormatOption = cohorts.Format.AUTO,
    label: cohorts.VersionOption = None,
    partition: cohorts.PartitionOption = None,
    silos: cohorts.SilosOption = 4,
    detector: cohorts.DetectorOption = None,
    detector_sha256: cohorts.HashOption = None,
    purposes: cohorts.PurposesOption = "none",
    expires: cohorts.ExpiresOption = None,
    only: cohorts.OnlyOption = None,
    processes: cohorts.ProcessesOption = 1,
    strict: cohorts.StrictOption = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Patients whom the source does not name leave the workspace.")
    ] = False,
) -> None:
    """Bring patients in, or bring those who are there up to date: aligned crops and pseudonymous records.

    Patients are told by their id and photos by their content, so that the same source again changes nothing. A
    corrected diagnosis moves the patient; photos come and go with their rows; a consent that changed is taken
    over, and who permits nothing any more leaves. What was decided on site by silo consent is never undone.

    Patients whose rows say nothing of consent are left out, or stay as they are, unless --purposes says what they
    agreed to. The policy's detector is used where none is named.

    Example: phenofed silo import workspace patients/ --purposes train,match --expires 2031-12-31
    """
    from client.audit.entry import reason_of
    from client.audit.opening import open_log, this_user
    from client.patients.importing import bring_in as brought_in
    from client.patients.withdrawal import close_rows
    from client.workspace.workspace import Workspace
    from common.cohort import summary

    workspace = Workspace(folder)
    log = open_log(workspace)
    if detector is None and (folder / "policy.yaml").exists() and (chosen := workspace.policy().detector):
        detector, detector_sha256 = chosen.path, chosen.sha256
    try:
        consent = cohorts.stated_consent(purposes, expires)
        weights = cohorts.detector_file(detector, detector_sha256)
        read = cohorts.read_source(source, layout, label, partition, silos, consent)
        with summary.progress() as advance:
            brought = brought_in(
                workspace,
                read,
                today=datetime.date.today(),
                detector=weights,
                processes=processes,
                only=only,
                replace=replace,
                strict=strict,
                progress=advance,
            )
    except PhenofedError as error:
        log.record("import", this_user(), outcome="refused", reason=reason_of(error))
        raise
    changes = brought.changes
    log.record(
        "import",
        this_user(),
        added=len(changes.added),
        updated=len(changes.updated),
        unchanged=len(changes.unchanged),
        removed=len(changes.removed),
        refused=len(brought.refused),
        patients=brought.patients,
        photos=brought.photos,
    )
    _show(brought, read.notes)
    if changes.removed or changes.updated:
        close_rows(workspace)


def _show(brought: Brought, notes: list[str]) -> None:
    from common.cohort import summary

    changes = brought.changes
    summary.say(
        f"{len(changes.added)} patients added, {len(changes.updated)} updated, "
        f"{len(changes.unchanged)} unchanged, {len(changes.removed)} removed; "
        f"{changes.photos_added} photos added, {changes.photos_removed} removed"
    )
    for what, patients in (
        ("have another diagnosis now", changes.moved),
        ("permit nothing any more and have left", changes.removed),
        ("are kept out: they withdrew here, see silo consent", changes.kept_out),
    ):
        if patients:
            summary.say(f"{len(patients)} {what}: {', '.join(patients)}")
    if changes.photos_kept:
        summary.say(f"{changes.photos_kept} photos are not listed any more, and stay since rows were refused")
    for note in notes:
        summary.say(f"note: {note}")
    for warning, count in Counter(brought.warnings).most_common():
        summary.say(f"warning: {count} photos {warning}")
    for pair in brought.duplicates:
        summary.say(f"warning: photos {pair.photo} and {pair.other} of two patients are nearly the same")
    summary.refusals(brought.refused)
    summary.say(f"stored: {brought.patients} patients with {brought.photos} photos")
