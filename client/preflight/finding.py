"""What a check says: fine, worth a look, or broken; what was found; how to mend it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """``WARNING`` is also what cannot be told from here: nothing unknown is called fine."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True)
class Finding:
    """One line. ``remedy`` is empty where there is nothing to mend."""

    state: State
    found: str
    remedy: str = ""


def ok(found: str) -> Finding:
    """All is well."""
    return Finding(State.OK, found)


def warning(found: str, *, remedy: str) -> Finding:
    """The agent runs, and somebody should look; or it cannot be told."""
    return Finding(State.WARNING, found, remedy)


def failed(found: str, *, remedy: str) -> Finding:
    """The agent does not run, or must not."""
    return Finding(State.FAILED, found, remedy)
