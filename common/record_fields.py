"""Fields of the notes in training records, read from hostile JSON: what does not fit raises ``TrainingError``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from common.errors import TrainingError
from common.versions import MAX_HELLO


def name(note: Mapping[str, Any], key: str) -> str:
    """A printable text of 1 to 128 letters."""
    value = note.get(key)
    if not isinstance(value, str) or not 0 < len(value) <= 128 or not value.isprintable():
        raise TrainingError(f"a message has no usable '{key}'", remedy="use the same version")
    return value


def text(note: Mapping[str, Any], key: str) -> str:
    """Letters and digits, at most 128; empty where there is none."""
    value = note.get(key, "")
    if not isinstance(value, str) or len(value) > 128 or (value and not value.isalnum()):
        raise TrainingError(f"a message has no usable '{key}'", remedy="use the same version")
    return value


def hello(note: Mapping[str, Any]) -> str:
    """The other side's hello as it stands, empty where there is none; still to be parsed."""
    value = note.get("hello", "")
    if not isinstance(value, str) or len(value) > MAX_HELLO or not (value.isascii() and value.isprintable()):
        raise TrainingError("a message has no usable 'hello'", remedy="use the same version")
    return value


def versions(note: Mapping[str, Any]) -> dict[str, Any]:
    """Protocol and software of a message; from version 2 on it names its software."""
    protocol = int(note["protocol"])
    return {"protocol": protocol, "software": name(note, "software")[:MAX_HELLO] if protocol > 1 else ""}


def count(note: Mapping[str, Any], key: str) -> int:
    """A whole number, 0 or more."""
    value = note.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TrainingError(f"a message has no usable '{key}'", remedy="use the same version")
    return value


def section(note: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A JSON object."""
    value = note.get(key)
    if not isinstance(value, dict):
        raise TrainingError(f"a message has no usable '{key}'", remedy="use the same version")
    return value
