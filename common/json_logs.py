"""Logs as one JSON object a line, for collectors; only what phenofed logs, and only known fields.

{"time": "2026-06-01T08:00:00.125Z", "level": "info", "logger": "phenofed.requests", "silo": "clinic-a",
 "event": "request", "message": "query of clinic-b: ok", "topic": "query", "peer": "clinic-b", "outcome": "ok"}

Every line names an event. Libraries' own messages are left out, and of an exception that may quote data only its
kind is told: those of others, and phenofed's own over cohorts, photos and files.
"""

from __future__ import annotations

import datetime
import json
import logging
import sys
from enum import StrEnum
from typing import TextIO

from common.errors import CohortError, PhenofedError, PhotoError, RunError

FIELDS = (
    *("event", "side", "topic", "peer", "user", "outcome", "seconds", "run", "round", "epoch"),
    *("silo", "silos", "reason", "error"),
)
"""What a log call may add by ``extra``."""

ROOT = "phenofed"
_QUOTING = (CohortError, PhotoError, RunError)
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
            "event": record.name.rpartition(".")[2],
            "message": _message(record),
        }
        line |= {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
        return json.dumps(line, ensure_ascii=True, default=str)


def _message(record: logging.LogRecord) -> str:
    if not isinstance(record.args, tuple):
        return record.getMessage()
    told = tuple(type(each).__name__ if _quotes(each) else each for each in record.args)
    return str(record.msg) % told if told else str(record.msg)


def _quotes(value: object) -> bool:
    """Whether it is an error whose text may name a patient or a file."""
    is_error = isinstance(value, BaseException)
    return is_error and (not isinstance(value, PhenofedError) or isinstance(value, _QUOTING))


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
