"""``RUN/run.log``: what happened in a run, one JSON object a line, from leading process and ServerApp.

Each line is written whole, under a lock, at the end of the file. At 4 MiB the file becomes ``run.log.1`` in place
of the one before, so that a run keeps at most two. A disk that is full costs lines and never a round.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common.json_logs import JsonLines
from server.round_log import NAME

FILE, OLDER = "run.log", "run.log.1"
MOST_BYTES = 4 << 20

Line = dict[str, Any]


class RunLog(logging.Handler):
    """Appends to the log of the run in ``folder``."""

    def __init__(self, folder: Path, *, most_bytes: int = MOST_BYTES) -> None:
        super().__init__(logging.INFO)
        self._path, self._older, self._most = folder / FILE, folder / OLDER, most_bytes
        self.setFormatter(JsonLines())

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line; where the disk refuses, none."""
        line = f"{self.format(record)}\n".encode()
        try:
            # Opened for each line: the other process may have moved the file aside.
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
                size = os.fstat(file).st_size
                if os.write(file, line) < len(line):
                    os.ftruncate(file, size)
                elif size + len(line) >= self._most and os.path.samestat(os.fstat(file), self._path.stat()):
                    self._path.replace(self._older)
            finally:
                os.close(file)
        except OSError:
            return


class Tail:
    """Follows a run's log: each line once, from the end as it was when this was made."""

    def __init__(self, folder: Path) -> None:
        self._path, self._older = folder / FILE, folder / OLDER
        self._number, self._read = self._end()

    def new(self) -> list[tuple[str, Line]]:
        """(text, content) of each line since the last call; what is no line of a log is passed over."""
        found: list[str] = []
        if self._number is not None and self._of(self._path) != self._number:
            if self._of(self._older) == self._number:
                found += self._lines(self._older)
            self._number, self._read = None, 0
        if self._number is None:
            self._number, self._read = self._of(self._path), 0
        if self._number is not None:
            found += self._lines(self._path)
        return [(text, line) for text in found if (line := parsed(text)) is not None]

    def _lines(self, path: Path) -> list[str]:
        try:
            with path.open("rb") as file:
                file.seek(self._read)
                whole, end, _ = file.read().rpartition(b"\n")
        except OSError:
            return []
        self._read += len(whole) + len(end)
        return whole.decode("utf-8", "replace").splitlines()

    def _end(self) -> tuple[int | None, int]:
        try:
            found = self._path.stat()
        except OSError:
            return None, 0
        return found.st_ino, found.st_size

    @staticmethod
    def _of(path: Path) -> int | None:
        try:
            return path.stat().st_ino
        except OSError:
            return None


def parsed(text: str) -> Line | None:
    """A line's content, or None where it is damaged."""
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) else None


def keep_log(folder: Path) -> None:
    """From now on this process writes what it tells of a run into ``folder``; for one that leads no other."""
    ours = logging.getLogger(NAME)
    ours.handlers, ours.propagate = [RunLog(folder)], False
    ours.setLevel(logging.INFO)


@contextmanager
def kept_log(folder: Path) -> Iterator[None]:
    """As ``keep_log``, until the end of the context."""
    ours = logging.getLogger(NAME)
    before = list(ours.handlers), ours.propagate, ours.level
    keep_log(folder)
    try:
        yield
    finally:
        ours.handlers, ours.propagate = before[:2]
        ours.setLevel(before[2])
