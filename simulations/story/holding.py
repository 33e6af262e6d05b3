"""What lies on the disks of a story: looked at to see whether what the commands say is so."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from client.workspace.adoption import adopted_release
from client.workspace.workspace import Workspace
from common.cohort import store
from common.errors import RunError
from common.releases.release import Release

WINDOW = 64
"""Bytes of a crop that are looked for: so many in a row are nowhere else by chance."""


def certificate(workspace: Path) -> bytes:
    """A hospital's TLS certificate."""
    return (workspace / "certificate.pem").read_bytes()


def release(workspace: Path) -> Release:
    """The release that a hospital has adopted.

    Raises:
        RunError: it names no model.
    """
    hospital = Workspace(workspace)
    model = hospital.policy().model
    if model is None:
        raise RunError(f"{workspace} names no model", remedy="see its policy.yaml")
    return adopted_release(hospital, model)


def crops_of(workspace: Path, patient: str) -> tuple[str, ...]:
    """Photos of a patient of which a crop is stored."""
    stored = store.load(workspace / "cohort")
    known = {photo.id for owner, photo in stored.cohort.photos() if owner.id == patient}
    return tuple(sorted(known & set(stored.photo_ids)))


def rounds_trained(workspace: Path) -> list[tuple[str, int]]:
    """(run, patients) of each round that a hospital trained, by its audit log."""
    entries = [
        json.loads(line)
        for path in sorted((workspace / "audit").glob("*.jsonl"))
        for line in path.read_text().splitlines()
    ]
    facts = [entry["facts"] for entry in entries if entry["event"] == "training.trained"]
    return [(str(fact["run"]), int(fact["patients"])) for fact in facts]


def trained_patients(workspace: Path, run: str) -> int:
    """With how many patients a hospital trained the last round of a run.

    Raises:
        RunError: it trained none.
    """
    found = [patients for name, patients in rounds_trained(workspace) if name == run]
    if not found:
        raise RunError(f"{workspace} trained no round of run {run}", remedy="see its audit log")
    return found[-1]


def somebody_with(desks: Path, hospitals: Iterable[str], syndrome: str) -> tuple[str, str]:
    """(hospital, patient) with a syndrome; one who trains if there is one.

    Raises:
        RunError: nobody has it.
    """
    found = [
        (row["purposes"] != "train;match", hospital, row["patient"])
        for hospital in hospitals
        for row in _rows(desks / hospital)
        if row["syndrome"] == syndrome
    ]
    if not found:
        raise RunError(f"nobody has {syndrome}", remedy="take a larger cohort")
    _, hospital, patient = min(found)
    return hospital, patient


def could_train(desk: Path, patient: str) -> bool:
    """Whether a hospital's table says that a patient agreed to training."""
    return any("train" in row["purposes"] for row in _rows(desk) if row["patient"] == patient)


def names_of_patients(desks: Path) -> frozenset[str]:
    """Every patient's pseudonym."""
    return frozenset(row["patient"] for path in desks.iterdir() if path.is_dir() for row in _rows(path))


def files_that_name(names: Iterable[str], places: Iterable[Path]) -> list[Path]:
    """Files below ``places`` that hold one of ``names``."""
    return _files_with([name.encode() for name in names], places)


def files_with_crops(workspaces: Iterable[Path], places: Iterable[Path]) -> list[Path]:
    """Files below ``places`` that hold a part of a crop of one of ``workspaces``."""
    parts = []
    for workspace in workspaces:
        for crop in store.load(workspace / "cohort").crops:
            flat = np.ascontiguousarray(crop).tobytes()
            middle = len(flat) // 2
            parts.append(flat[middle : middle + WINDOW])
    # A part of one plain colour could be anything.
    return _files_with([part for part in parts if len(set(part)) > 8], places)


def _files_with(wanted: Sequence[bytes], places: Iterable[Path]) -> list[Path]:
    found = []
    for path in _files(places):
        content = path.read_bytes()
        if any(part in content for part in wanted):
            found.append(path)
    return found


def _files(places: Iterable[Path]) -> Iterator[Path]:
    for place in places:
        yield from (path for path in sorted(place.rglob("*")) if path.is_file())


def _rows(desk: Path) -> list[dict[str, str]]:
    if not (desk / "cohort.csv").is_file():
        return []
    with (desk / "cohort.csv").open(newline="") as file:
        return list(csv.DictReader(file))
