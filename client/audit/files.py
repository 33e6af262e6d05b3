"""The files of the audit log, oldest first, and the lines in them.

audit-000001.jsonl  audit-000002.jsonl ...    head.json    lock
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from client.audit.entry import MOST_BYTES

_FILE = re.compile(r"audit-(\d{6})\.jsonl")


def path_of(folder: Path, number: int) -> Path:
    """The file of that number."""
    return folder / f"audit-{number:06d}.jsonl"


def log_files(folder: Path) -> list[tuple[int, Path]]:
    """(number, file) of every file of the log, in order."""
    if not folder.is_dir():
        return []
    found = [(int(match[1]), path) for path in folder.iterdir() if (match := _FILE.fullmatch(path.name))]
    return sorted(found)


def lines(path: Path) -> Iterator[tuple[bytes, bool]]:
    """(line without its end, whether it has an end); a line that is too long comes in pieces."""
    with path.open("rb") as file:
        while line := file.readline(MOST_BYTES + 1):
            yield line.removesuffix(b"\n"), line.endswith(b"\n")


def last_line(path: Path) -> tuple[bytes, int]:
    """(the last line that has an end, without it; the length of what follows it); b'' where there is none."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 2 * MOST_BYTES))
        content = file.read()
    whole, end, torn = content.rpartition(b"\n")
    if not end:
        return b"", len(content)
    return whole.rpartition(b"\n")[2], len(torn)
