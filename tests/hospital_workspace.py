"""A hospital's workspace for the tests, with patients imported by the command; no consortium around it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from client.audit.entry import Entry, read_entry
from client.audit.files import lines, log_files
from client.workspace.workspace import Workspace
from common.cohort import store
from common.cohort.schema import Patient
from tests.cohort_files import drawn_face, drawn_landmarks
from tests.consortium_folder import done, new_silo

COLUMNS = ("photo", "patient", "syndrome", "purposes", "consent_expires", "alone")


def workspace(folder: Path) -> Workspace:
    """A new one."""
    return Workspace(new_silo(folder, "silo", "clinic-a"))


def write_source(folder: Path, *rows: Sequence[str]) -> Path:
    """A folder cohort of these cells; a photo is named by the seed of its face, such as '7.png'."""
    folder.mkdir(exist_ok=True)
    points = [f"{value:.3f}" for point in drawn_landmarks() for value in point]
    header = [*COLUMNS, *(f"kp{i}_{axis}" for i in range(1, 6) for axis in "xy")]
    table = [header, *([*row, *[""] * (len(COLUMNS) - len(row)), *points] for row in rows)]
    (folder / "cohort.csv").write_text("\n".join(",".join(cells) for cells in table) + "\n")
    for photo in {row[0] for row in rows}:
        if photo.removesuffix(".png").isdigit() and not (folder / photo).exists():
            drawn_face(int(photo.removesuffix(".png"))).save(folder / photo)
    return folder


def bring(hospital: Workspace, *rows: Sequence[str], options: Sequence[object] = ()) -> str:
    """Import a source of these rows; what the command prints."""
    source = write_source(hospital.folder.parent / "source", *rows)
    return done("silo", "import", hospital.folder, source, *options)


def patients(hospital: Workspace) -> dict[str, Patient]:
    """Who is stored, by id."""
    return {patient.id: patient for patient in store.load(hospital.cohort_folder).cohort.patients}


def audit(hospital: Workspace) -> list[Entry]:
    """The audit log's lines."""
    files = log_files(hospital.folder / "audit")
    return [read_entry(line) for _, path in files for line, _ in lines(path)]
