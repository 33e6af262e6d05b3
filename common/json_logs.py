"""Logs as one JSON object a line, for collectors; only what phenofed logs, and only known fields.

{"time": "2026-06-01T08:00:00.125Z", "level": "info", "logger": "phenofed.requests", "silo": "clinic-a",
 "event": "request", "message": "query of clinic-b: ok", "topic": "query", "peer": "clinic-b", "outcome": "ok"}

Libraries' own messages are left out, and of an exception only its kind: their texts may quote data.
"""

from __future__ import annotations

import datetime
import json
import logging
import sys
from enum import StrEnum
from typing import TextIO

FIELDS = (
    *("event", "side", "topic", "peer", "user", "outcome", "seconds", "run", "round", "epoch"),
    *("silo", "silos", "reason", "error"),
)
"""What a log call may add by ``extra``."""

ROOT = "phenofed"
_PLAIN = "%(asctime)s %(levelname)s %(name)s %(message)s"


class LogFormat(StrEnum):
    """How lines look."""

    TEXT = "text"
    JSON = "json"


class JsonLines(logging.Formatter):
    """One object a record. ``fixed``: fields of every line, such as the silo's name."""

    def __init__(self, **fixed: str) -> None:
        super().__init__()
        self._fixed = fixed

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        when = datetime.datetime.fromtimestamp(record.created, tz=datetime.UTC)
        line: dict[str, object] = {
            "time": when.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            **self._fixed,
            "message": record.getMessage(),
        }
        line |= {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
        return json.dumps(line, ensure_ascii=True, default=str)


def start_logging(form: LogFormat, *, verbose: bool, stream: TextIO | None = None, **fixed: str) -> None:
    """Log to standard error; warnings alone as text unless ``verbose``, everything of phenofed as JSON."""
    if form is LogFormat.TEXT:
        logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format=_PLAIN, stream=stream)
        return
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines(**fixed))
    ours = logging.getLogger(ROOT)
    ours.handlers, ours.propagate = [handler], False
    ours.setLevel(logging.INFO)
    # Otherwise Python would print others' warnings as plain text between the lines.
    logging.getLogger().addHandler(logging.NullHandler())
