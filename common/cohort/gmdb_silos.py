"""Federated split files of the GMDB layout: which photo lies at which silo."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from common.cohort.gmdb_files import METADATA
from common.cohort.reading import Refused
from common.cohort.tables import Row, read_rows
from common.errors import CohortError

PARTITIONS = {
    "uniform": "subject-wise_complete_uniform_random_dist1_",
    "disjoint": "non-intersecting_label_distribution_",
    "site": "natural_site_",
}

_SPLIT_FILE = re.compile(
    r"^(?P<prefix>.*?)gmdb_(?P<role>train|val|test|rare)_images_(?P<version>.+)_(?P<silos>\d{1,4})_parties_party_"
    r"(?P<party>\d{1,4})\.csv$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Placed:
    """One row of a federated split file and the silo it belongs to."""

    silo: str
    row: Row


def read_silos(
    root: Path, *, version: str, partition: str | None, silos: int
) -> tuple[list[Placed], list[Refused], list[str]]:
    """(rows with their silos 'silo-1'..'silo-P', refused rows, notes) of one partition.

    ``partition``: 'uniform', 'disjoint', 'site', or the literal prefix of the file names. None takes the first
    that there is: its rows still name photos that no other file lists. Without any federated file there are no
    rows, and where a partition was asked for a note says so.

    Raises:
        CohortError: federated files exist, but not for this partition and number of silos, or not for every silo.
    """
    found = _find(root / METADATA / "federated_metadata", version)
    if not found:
        missing = f"no federated split files of version {version}: photos belong to no silo"
        return [], [], [missing] if partition is not None else []
    if partition is None:
        (prefix, silos), parties = min(found.items())
    else:
        prefix = PARTITIONS.get(partition, partition).rstrip("_")
        parties = found.get((prefix, silos), {})
    names = {prefix.rstrip("_"): name for name, prefix in PARTITIONS.items()}
    if not parties:
        known = "; ".join(f"{names.get(p, p)} with {count} silos" for p, count in sorted(found))
        raise CohortError(
            f"no split files of partition '{partition}' with {silos} silos", remedy=f"there are {known}"
        )
    if partition is not None and len(parties) != silos:
        listed = ", ".join(str(party) for party in sorted(parties))
        raise CohortError(
            f"partition '{partition}' names {silos} silos but has files of parties {listed} only",
            remedy="add the missing files, with a header alone where a silo has no photo",
        )
    placed: list[Placed] = []
    refused: list[Refused] = []
    for number, party in enumerate(sorted(parties), start=1):
        for path in parties[party]:
            name = path.relative_to(root).as_posix()
            rows, problems = read_rows(path, name=name, required=("image_id",), optional=("subject", "label"))
            refused += problems
            placed += [Placed(f"silo-{number}", row) for row in rows]
    return placed, refused, []


def _find(folder: Path, version: str) -> dict[tuple[str, int], dict[int, list[Path]]]:
    """(prefix, number of silos) -> party -> its files."""
    found: dict[tuple[str, int], dict[int, list[Path]]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        match = _SPLIT_FILE.match(path.name)
        if match and match["version"] == version:
            parties = found.setdefault((match["prefix"].rstrip("_"), int(match["silos"])), {})
            parties.setdefault(int(match["party"]), []).append(path)
    return found
