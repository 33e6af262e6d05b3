"""One line of the audit log: canonical JSON that holds the SHA-256 of the line before it.

    {"before":"<64 digits>","event":"rank","facts":{},"number":17,"outcome":"done","reason":"","sealed":true,
     "time":"2026-06-01T08:15:30Z","version":1,"who":"user ines"}

A line says only what the patterns here let through, so that no reference, label, path or free text comes in.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

from common.errors import PhenofedError

VERSION = 1
FIRST = "0" * 64
"""What stands for the line before the first one."""
MOST_BYTES = 2048

Outcome = Literal["done", "refused", "failed"]
Fact = str | int

AGENT, RELAY = "agent", "relay"

_COUNT = None
_NAME = re.compile(r"[a-z][a-z0-9._-]{0,63}")
_TOKEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,95}")
FACTS: Mapping[str, re.Pattern[str] | None] = {
    "patient": re.compile(r"[0-9a-f]{32}"),  # client.patients.patient_key
    "purposes": re.compile(r"none|(train|match|discover|display)(,(train|match|discover|display))*"),
    "topic": _NAME,
    "member": re.compile(r"[a-z0-9-]{1,40}"),
    "norm": re.compile(r"\d{1,9}(\.\d{1,9})?(e[+-]\d{2,3})?"),
    "clipped": re.compile(r"yes|no"),
    "by": re.compile(r"policy|hand"),
    "words": re.compile(r"[a-z]+(-[a-z]+){11}"),
    **dict.fromkeys(("run", "round", "release", "epoch", "digest", "plan", "key"), _TOKEN),
    **dict.fromkeys(
        (
            *("added", "updated", "unchanged", "removed", "refused"),
            *("patients", "stated", "photos", "rows", "bytes", "version"),
        ),
        _COUNT,
    ),
}
"""What a line may tell besides, by name: a pattern for text, None for counts."""

_WHO = re.compile(r"(user|member) [^\s\"\\]{1,64}|agent|relay")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_REASON = re.compile(r"[A-Za-z0-9 ,.'-]{0,120}")


@dataclass(frozen=True)
class Entry:
    """One line. ``number`` counts from 1; ``sealed``: whoever wrote it had the key that seals the end.

    Raises:
        ValueError: something that has no place in the log.
    """

    number: int
    time: str
    event: str
    who: str
    before: str
    outcome: Outcome = "done"
    reason: str = ""
    facts: Mapping[str, Fact] = field(default_factory=dict)
    sealed: bool = False
    version: int = VERSION

    def __post_init__(self) -> None:
        wrong = [
            name
            for name, right in (
                ("number", type(self.number) is int and self.number > 0),
                ("time", _fits(_TIME, self.time)),
                ("event", _fits(_NAME, self.event)),
                ("who", _fits(_WHO, self.who)),
                ("before", _fits(_DIGEST, self.before)),
                ("outcome", self.outcome in ("done", "refused", "failed")),
                ("reason", _fits(_REASON, self.reason)),
                ("sealed", type(self.sealed) is bool),
                ("version", type(self.version) is int and self.version == VERSION),
                ("facts", isinstance(self.facts, dict)),
            )
            if not right
        ]
        wrong += [name for name, value in dict(self.facts).items() if not is_fact(name, value)]
        if wrong:
            raise ValueError(f"no audit line can hold this {', '.join(sorted(wrong))}")

    @property
    def line(self) -> bytes:
        """The line, without its end."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")

    @property
    def digest(self) -> str:
        """(64 hexadecimal digits) what the next line holds."""
        return line_digest(self.line)


def read_entry(line: bytes) -> Entry:
    """The entry of a line without its end.

    Raises:
        ValueError: no line that this module writes, in its one spelling.
    """
    if len(line) > MOST_BYTES:
        raise ValueError("too long")
    try:
        entry = Entry(**json.loads(line))
    except (TypeError, RecursionError) as error:
        raise ValueError("no audit line") from error
    if entry.line != line:
        raise ValueError("another spelling")
    return entry


def line_digest(line: bytes) -> str:
    """SHA-256 of a line without its end."""
    return hashlib.sha256(line).hexdigest()


def is_fact(name: str, value: object) -> bool:
    """Whether a line may tell this."""
    if name not in FACTS:
        return False
    pattern = FACTS[name]
    if pattern is None:
        return type(value) is int and value >= 0
    return _fits(pattern, value)


def user(name: str) -> str:
    """The ``who`` of somebody of the hospital, by OS user."""
    return f"user {_bare(name)}"


def member(name: str) -> str:
    """The ``who`` of another hospital."""
    return f"member {_bare(name)}"


def reason_of(error: BaseException) -> str:
    """Why something was refused, in words that no input can choose: messages may quote a patient's reference."""
    words = {
        "OutsideHours": "outside the hours of the policy",
        "BelowFloor": "a floor of the policy",
        "OtherModel": "a model that the policy does not name",
        "NotInForce": "the policy cannot be used",
        "InvalidPolicy": "the policy cannot be used",
        "ConfigError": "settings or values",
        "CohortError": "patients as stored or brought",
        "PhotoError": "a photo",
        "WeightsError": "a model or its weights",
        "TrainingError": "training could not go on",
        "EncryptionError": "keys, signatures or ciphertexts",
        "RunError": "a file could not be written or read",
        "DisclosureError": "policy, budget or consent",
        "RelayError": "relay or hospital out of reach",
        "AgentError": "agent or workspace not ready",
    }
    kinds = [kind.__name__ for kind in type(error).__mro__ if issubclass(kind, PhenofedError)]
    return next((words[kind] for kind in kinds if kind in words), "an error of the program")


def _bare(name: str) -> str:
    return re.sub(r"[\s\"\\]", "-", name)[:64] or "-"


def _fits(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None
