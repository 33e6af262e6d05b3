"""Whether an audit log is as it was written: every line, their order, and the sealed end."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from client.audit.entry import FIRST, VERSION, Entry, line_digest, read_entry
from client.audit.files import lines, log_files
from client.audit.head import Head, read_head
from common.consortium.identity import Card
from common.errors import AgentError
from common.versions import refuse_newer

MOST_FAULTS = 20


@dataclass
class Verdict:
    """What was found. ``faults``: what does not hold, empty for a log that holds; ``notes``: what to know besides.

    ``number`` and ``digest`` are those of the last line: noted elsewhere, they show later that nothing before it
    was changed, whoever has the silo's key.
    """

    lines: int = 0
    files: int = 0
    number: int = 0
    digest: str = FIRST
    sealed: int = 0
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def verify(folder: Path, card: Card, *, noted: tuple[int, str] | None = None) -> Verdict:
    """Read the whole log.

    Args:
        card: of the silo whose log this is; not to be taken from beside the log.
        noted: number and digest of a line as ``verify`` gave them before.
    """
    reading = _Reading(folder, noted)
    reading.read()
    reading.check_end(card)
    return reading.verdict


class _Reading:
    def __init__(self, folder: Path, noted: tuple[int, str] | None) -> None:
        self.verdict = Verdict()
        self._folder, self._noted = folder, noted
        self._wanted = {} if noted is None else {noted[0]: noted[1]}
        self._seen: dict[int, str] = {}
        self._broken: set[int] = set()
        self._last_sealed = 0
        self._torn = False
        try:
            self._head: Head | None = read_head(folder)
        except AgentError as error:
            self._head = None
            self._fault(error.what)
        if self._head is not None:
            self._wanted.setdefault(self._head.number, "")

    def read(self) -> None:
        files = log_files(self._folder)
        self.verdict.files = len(files)
        for place, (number, path) in enumerate(files, 1):
            if number != place and (place == 1 or files[place - 2][0] != number - 1):
                self._fault(f"files are missing before {path.name}")
            for count, (line, ended) in enumerate(lines(path), 1):
                if ended:
                    self._line(line, f"{path.name}:{count}")
                elif place == len(files):
                    self._torn = True
                else:
                    self._fault(f"{path.name}:{count} has no end")
        if self._torn:
            self.verdict.notes.append("the last line has no end: its writer was stopped; the next line says so")

    def check_end(self, card: Card) -> None:
        head, verdict = self._head, self.verdict
        if head is None:
            if self._last_sealed:
                self._fault("the sealed end is missing, though lines were sealed")
            elif verdict.lines:
                verdict.notes.append("the end was never sealed: lines cut off there would not be noticed")
        elif not head.signed_by(card):
            self._fault(f"the sealed end is not signed by {card.name}")
        elif head.number > verdict.number:
            self._fault(f"{head.number} lines were sealed, and the log ends with line {verdict.number}")
        elif self._seen.get(head.number) != head.digest:
            self._fault(f"line {head.number} was changed after it was sealed")
        elif self._last_sealed > head.number + 1:
            self._fault(f"line {self._last_sealed} was sealed, and the sealed end is that of line {head.number}")
        else:
            verdict.sealed = head.number
            if verdict.number > head.number:
                verdict.notes.append(f"lines from {head.number + 1} on wait for the agent to seal them")
        if self._noted is not None and self._seen.get(self._noted[0]) != self._noted[1]:
            self._fault(f"line {self._noted[0]} is not the one that was noted")

    def _line(self, line: bytes, where: str) -> None:
        verdict, digest = self.verdict, line_digest(line)
        verdict.lines += 1
        try:
            refuse_newer(where, line, VERSION, kind=AgentError)
            entry = read_entry(line)
        except (ValueError, AgentError) as error:
            newer = error.what if isinstance(error, AgentError) else f"{where} is no line of an audit log"
            self._fault(newer)
            verdict.number, verdict.digest = verdict.number + 1, digest
            self._broken.add(verdict.number)
            return
        self._compare(entry, where)
        verdict.number, verdict.digest = entry.number, digest
        if entry.number in self._wanted:
            self._seen[entry.number] = digest
        if entry.sealed:
            self._last_sealed = max(self._last_sealed, entry.number)

    def _compare(self, entry: Entry, where: str) -> None:
        before, verdict = self.verdict.number, self.verdict
        if entry.number > before + 1:
            self._fault(f"{where}: lines {before + 1} to {entry.number - 1} are missing")
        elif entry.number <= before:
            self._fault(f"{where}: line {entry.number} stands behind line {before}")
        elif entry.before != verdict.digest and before not in self._broken:
            self._fault(f"{where}: line {max(1, before)} or {entry.number} was changed")

    def _fault(self, what: str) -> None:
        if len(self.verdict.faults) < MOST_FAULTS:
            self.verdict.faults.append(what)
