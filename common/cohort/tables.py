"""Rows of a CSV or TSV file by column name, with their line numbers.

Only the columns that a reader asks for leave this module: names, addresses and whatever else a file holds are
never seen by anything that stores or logs.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.cohort.reading import Refused, printable
from common.errors import CohortError

MAX_BYTES = 1 << 30


@dataclass(frozen=True)
class Row:
    """The asked-for cells of one row, stripped and printable; a column that the file lacks is an empty cell."""

    file: str
    line: int
    cells: Mapping[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells.get(column, "")

    def refuse(self, reason: str) -> Refused:
        """This row as refused for ``reason``."""
        return Refused(self.file, self.line, reason)


def read_rows(
    path: Path, *, name: str, required: Sequence[str], optional: Sequence[str] = ()
) -> tuple[list[Row], list[Refused]]:
    """(rows, refused rows) of a table; ``name`` stands for the file in messages.

    The delimiter (comma, semicolon, tab) is told by the header. Column names match in any case; a byte-order
    mark, any line end and quoted cells are understood; unknown columns are ignored.

    Raises:
        CohortError: the file is missing, empty, no table, or lacks a required column.
    """
    text = _text(path, name)
    delimiter = _delimiter(text, required)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows: list[Row] = []
    refused: list[Refused] = []
    header: dict[str, int] | None = None
    width = 0
    start = 1
    try:
        for cells in reader:
            line, start = start, reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if header is None:
                header = _header(cells, name, required, optional)
                width = len(cells)
            elif any(cell.strip() for cell in cells[width:]):
                refused.append(Refused(name, line, f"has more than {width} cells"))
            else:
                picked = {c: printable(cells[i].strip()) if i < len(cells) else "" for c, i in header.items()}
                rows.append(Row(name, line, picked))
    except csv.Error as error:
        raise CohortError(f"{name}:{start}: {error}", remedy="mend the quotes or save the table again") from error
    if header is None:
        raise CohortError(f"{name} is empty", remedy=f"it needs a header with {_listing(required)}")
    return rows, refused


def _text(path: Path, name: str) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise CohortError(f"{name} has more than 1 GiB", remedy="is this the table?")
        # Free text in other encodings is not ours to keep; the columns that are read are plain ASCII.
        return path.read_bytes().decode("utf-8-sig", errors="replace")
    except OSError as error:
        raise CohortError(f"cannot read {name} ({error.strerror or error})", remedy="check the path") from error


def _delimiter(text: str, required: Sequence[str]) -> str:
    first = next((line for line in text.splitlines() if line.strip()), "")
    wanted = set(required)

    def found(delimiter: str) -> int:
        return len(wanted & {cell.strip().strip('"').casefold() for cell in first.split(delimiter)})

    return max((",", "\t", ";"), key=found)


def _header(cells: Sequence[str], name: str, required: Sequence[str], optional: Sequence[str]) -> dict[str, int]:
    """Asked-for column -> position; the first of two columns of one name counts."""
    positions: dict[str, int] = {}
    for position, cell in enumerate(cells):
        positions.setdefault(cell.strip().casefold(), position)
    missing = [column for column in required if column not in positions]
    if missing:
        raise CohortError(
            f"{name} has no column {_listing(missing)}", remedy=f"its header must name {_listing(required)}"
        )
    return {column: positions[column] for column in (*required, *optional) if column in positions}


def _listing(columns: Sequence[str]) -> str:
    return ", ".join(f"'{column}'" for column in columns)
