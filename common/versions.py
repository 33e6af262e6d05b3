"""Which release this is, which protocols it speaks, and whether two sides have one in common.

    theirs = Hello.from_text(text)                 # hostile bytes; "" is a peer of before versions
    chosen = agree(OWN, theirs, ["relay"], we="the relay", they="clinic-b")

Every handshake carries a hello: software, and by protocol the oldest and the newest that is spoken. A hello is one
short line, ``0.1.0 discovery=1-1 relay=1-2``; its form never changes, so that every release reads every other's.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NoReturn

from common.errors import PhenofedError, VersionError

SOFTWARE = importlib.metadata.version("phenofed")

Range = tuple[int, int]
"""The oldest and the newest, both spoken."""

PROTOCOLS: Mapping[str, Range] = {
    "relay": (1, 2),
    "ranking": (1, 1),
    "epoch": (1, 1),
    "envelope": (2, 2),
    "discovery": (1, 1),
    "training": (1, 2),
    "local": (1, 1),
}
"""What this program speaks; docs/versions.md says what each version added."""

RANKING = ("ranking", "epoch", "envelope")
DISCOVERY = ("discovery", "envelope")

METADATA = "phenofed-hello"
"""The key of a hello in the metadata of gRPC, which releases of before versions pass over."""

MAX_HELLO = 512
_MOST_PROTOCOLS, _MOST = 16, 9999
_SOFTWARE = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+_-]{0,31}")
_PROTOCOL = re.compile(r"([a-z]{1,16})=([0-9]{1,4})-([0-9]{1,4})")


@dataclass(frozen=True)
class Hello:
    """What one side says of itself. ``software``: its release; ``speaks``: ranges by protocol."""

    software: str
    speaks: Mapping[str, Range]

    @property
    def text(self) -> str:
        """One line of ASCII, at most ``MAX_HELLO`` letters; empty for a peer of before versions."""
        if self == BEFORE:
            return ""
        spoken = (f"{name}={oldest}-{newest}" for name, (oldest, newest) in sorted(self.speaks.items()))
        return " ".join((self.software, *spoken))

    @classmethod
    def from_text(cls, text: str) -> Hello:
        """The hello that ``text`` writes; protocols of later releases are kept as they stand.

        Raises:
            VersionError: it writes none; always the same error.
        """
        if not text:
            return BEFORE
        software, *spoken = text[: MAX_HELLO + 1].split(" ")
        found = [_PROTOCOL.fullmatch(one) for one in spoken]
        speaks = {match[1]: (int(match[2]), int(match[3])) for match in found if match}
        if (
            len(text) > MAX_HELLO
            or not _SOFTWARE.fullmatch(software)
            or not len(speaks) == len(spoken) <= _MOST_PROTOCOLS
            or not all(1 <= oldest <= newest <= _MOST for oldest, newest in speaks.values())
        ):
            raise VersionError("a hello cannot be read", remedy="bring both sides to one release of phenofed")
        return cls(software, speaks)

    def words(self, protocol: str) -> str:
        """'phenofed 0.1.0 (training 1-2)'."""
        span = self.speaks.get(protocol)
        spoken = "none" if span is None else f"{span[0]}" if span[0] == span[1] else f"{span[0]}-{span[1]}"
        return f"phenofed {self.software} ({protocol} {spoken})"


OWN = Hello(SOFTWARE, PROTOCOLS)

BEFORE = Hello(
    "of before versions",
    {name: (2, 2) if name == "envelope" else (1, 1) for name in PROTOCOLS},
)
"""A peer that says nothing of itself: the release that knew no hellos, and spoke version 1 of everything."""


def agree(own: Hello, theirs: Hello, protocols: Iterable[str], *, we: str, they: str) -> dict[str, int]:
    """The newest version that both sides speak, by protocol.

    Args:
        we, they: the sides by name, as they stand in the refusal.

    Raises:
        VersionError: they have no version of one of the protocols in common; says which side must be updated.
    """
    chosen = {}
    for name in protocols:
        ours, others = own.speaks.get(name), theirs.speaks.get(name)
        if ours is None or others is None or max(ours[0], others[0]) > min(ours[1], others[1]):
            _disagree(own, theirs, name, we=we, they=they)
        chosen[name] = min(ours[1], others[1])
    return chosen


def newer_file(what: str, version: object, reads: int, *, kind: type[PhenofedError]) -> PhenofedError | None:
    """The error for a file whose version field is above what this program reads; None where it is not.

    >>> str(newer_file("roster.json", 3, 1, kind=PhenofedError)).endswith("this program reads 1: update phenofed")
    True
    """
    if type(version) is not int or version <= reads:
        return None
    what = f"{what} has version {version}, written by a phenofed newer than {SOFTWARE}; this program reads {reads}"
    return kind(what, remedy="update phenofed")


def refuse_newer(
    what: str, content: bytes, reads: int = 1, *, kind: type[PhenofedError], at: tuple[str, ...] = ("version",)
) -> None:
    """Refuse JSON whose version field, found by the keys ``at``, is above what this program reads.

    Raises:
        PhenofedError: of ``kind``; it is. What is no such JSON is left to whoever reads it in earnest.
    """
    try:
        found = json.loads(content)
        for key in at:
            found = found[key]
    except (ValueError, TypeError, KeyError, IndexError, RecursionError):
        return
    error = newer_file(what, found, reads, kind=kind)
    if error is not None:
        raise error


def _disagree(own: Hello, theirs: Hello, protocol: str, *, we: str, they: str) -> NoReturn:
    ours, others = own.speaks.get(protocol), theirs.speaks.get(protocol)
    they_are_older = others is None or (ours is not None and others[1] < ours[0])
    raise VersionError(
        f"{they} runs {theirs.words(protocol)}, {we} runs {own.words(protocol)}: no version in common",
        remedy=f"update {they if they_are_older else we}",
    )
