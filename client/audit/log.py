"""Writing the audit log: append, fsync, seal, whoever writes at the same time.

    log = AuditLog(folder, member)
    log.record("rank", user("ines"))
    log.record("query", member("clinic-b"), outcome="refused", reason=reason_of(error))

The agent seals the end with the silo's key. Commands beside it have no key: their lines are chained at once, and
sealed with the agent's next line.
"""

from __future__ import annotations

import datetime
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from client.audit.entry import AGENT, FIRST, Entry, Fact, Outcome, line_digest, read_entry
from client.audit.files import last_line, log_files, path_of
from client.audit.head import read_head, write_head
from common.consortium.identity import Member
from common.errors import AgentError, RunError

LARGEST = 16 << 20
"""Bytes after which the next line begins a new file."""

Clock = Callable[[], datetime.datetime]


def utc_now() -> datetime.datetime:
    """Now, in UTC."""
    return datetime.datetime.now(tz=datetime.UTC)


@dataclass(frozen=True)
class _End:
    """Where the log ends: its newest file, the number and digest of the last line, bytes of a line cut short."""

    file: int
    number: int
    digest: str
    torn: int


class AuditLog:
    """One silo's audit log, for all threads and processes of its owner.

    Args:
        folder: made at the first line, for the owner alone.
        member: seals the end; None leaves that to whoever has the key.
        largest: bytes of a file after which the next one begins.
    """

    def __init__(
        self, folder: Path, member: Member | None = None, *, clock: Clock = utc_now, largest: int = LARGEST
    ) -> None:
        self._folder, self._member, self._clock, self._largest = folder, member, clock, largest

    def record(self, event: str, who: str, *, outcome: Outcome = "done", reason: str = "", **facts: Fact) -> Entry:
        """Append one line; it is on disk when this returns.

        Args:
            who: ``entry.user``, ``entry.member`` or ``entry.AGENT``.
            facts: see ``entry.FACTS``; a patient only as ``PatientKey.token`` gives it.

        Raises:
            ValueError: a fact or word that has no place in the log.
            AgentError: the log was cut or changed; nothing is written.
            RunError: the disk refuses.
        """
        try:
            with self._alone():
                end = self._end()
                self._check_head(end)
                if end.torn:
                    end = self._cut(end)
                return self._append(end, event, who, outcome, reason, facts)[1]
        except OSError as error:
            raise RunError(
                f"cannot write the audit log ({error.strerror or error})",
                remedy=f"free disk space, or let this user write to {self._folder}",
            ) from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One writer at a time; the system lets go of the lock when a process is killed."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _end(self) -> _End:
        """The newest file may be new and hold no whole line yet: then the one before it has the last."""
        torn, files = 0, log_files(self._folder)
        for number, path in reversed(files):
            line, rest = last_line(path)
            torn = rest if number == files[-1][0] else torn
            if line:
                try:
                    return _End(files[-1][0], read_entry(line).number, line_digest(line), torn)
                except ValueError as error:
                    raise self._tampered("its last line was changed") from error
        return _End(files[-1][0] if files else 1, 0, FIRST, torn)

    def _check_head(self, end: _End) -> None:
        head = read_head(self._folder)
        if head is None:
            return
        if head.number > end.number:
            raise self._tampered(f"it has {end.number} lines, and {head.number} were sealed")
        if head.number == end.number and head.digest != end.digest:
            raise self._tampered("its last line was changed")

    def _cut(self, end: _End) -> _End:
        """Take away the beginning of a line whose writer was killed, and say so."""
        path = path_of(self._folder, end.file)
        with path.open("r+b") as file:
            file.truncate(file.seek(0, os.SEEK_END) - end.torn)
            os.fsync(file.fileno())
        reason = "the writer of a line was stopped"
        return self._append(end, "audit.torn", AGENT, "failed", reason, {"bytes": end.torn})[0]

    def _append(
        self, end: _End, event: str, who: str, outcome: Outcome, reason: str, facts: dict[str, Fact]
    ) -> tuple[_End, Entry]:
        time = self._clock().strftime("%Y-%m-%dT%H:%M:%SZ")
        sealed = self._member is not None
        entry = Entry(end.number + 1, time, event, who, end.digest, outcome, reason, facts, sealed)
        path = path_of(self._folder, end.file)
        if path.exists() and path.stat().st_size >= self._largest:
            path = path_of(self._folder, end.file + 1)
        new = not path.exists()
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _write(handle, entry.line + b"\n")
            os.fsync(handle)
        finally:
            os.close(handle)
        if new:
            _sync(self._folder)
        if self._member is not None:
            write_head(self._folder, self._member, number=entry.number, digest=entry.digest, time=time)
        return _End(int(path.stem.removeprefix("audit-")), entry.number, entry.digest, 0), entry

    def _tampered(self, how: str) -> AgentError:
        return AgentError(
            f"the audit log is not as it was written: {how}",
            remedy=f"run phenofed silo audit verify, then keep {self._folder} elsewhere as evidence: "
            "a new log begins",
        )


def _write(handle: int, content: bytes) -> None:
    """All of it in one call: a disk that takes a part leaves a line without an end, which the next writer cuts."""
    if os.write(handle, content) != len(content):
        raise OSError(28, "No space left on device")


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
