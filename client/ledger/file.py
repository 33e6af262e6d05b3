"""The ledger's file: one SQLite database that survives a crash at any moment, and says so when it does not.

A write-ahead log with synchronous FULL: a change counts as done once it is flushed. That takes one flush, where a
rollback journal takes four, and each query makes two changes. While the silo runs, part of the ledger lies in the
log beside it, so that a copy of the file alone may forget: take backups with ``copy``.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.errors import AgentError
from common.versions import newer_file

VERSION = 1

_MAGIC = 0x50464C47
_WAIT_S = 30.0

_TABLES = """
CREATE TABLE scopes (id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, lineages TEXT NOT NULL);
CREATE TABLE spent (
    account TEXT NOT NULL, scope INTEGER NOT NULL REFERENCES scopes, day INTEGER NOT NULL, units INTEGER NOT NULL,
    PRIMARY KEY (account, scope, day));
CREATE TABLE answers (
    id INTEGER PRIMARY KEY, account TEXT NOT NULL, message BLOB NOT NULL, bound_to BLOB NOT NULL,
    state TEXT NOT NULL, size INTEGER NOT NULL, answer BLOB, UNIQUE (account, message));
CREATE TABLE counts (epoch INTEGER PRIMARY KEY, digest BLOB NOT NULL, message BLOB NOT NULL);
"""


class LedgerFile:
    """One open ledger, for all threads of a process.

    Args:
        new: make the file; it must not exist. Otherwise it must.

    Raises:
        AgentError: the file is missing, there already, damaged, or of another version.
    """

    def __init__(self, path: Path, *, new: bool = False) -> None:
        self.path = path
        self._lock = threading.RLock()
        if new:
            _create(path)
        elif not path.is_file():
            raise AgentError(
                f"there is no ledger at {path}",
                remedy="restore it from a backup; a silo that never had one gets it when it joins",
            )
        with self._told():
            self._connection = sqlite3.connect(
                path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False
            )
        try:
            with self._told():
                self._prepare(new=new)
            os.chmod(path, 0o600)
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Give the file free."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """A transaction that no other process interleaves: durable when the block ends, undone when it raises."""
        with self._lock, self._told():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """One consistent view."""
        with self._lock, self._told():
            self._connection.execute("BEGIN")
            try:
                yield self._connection
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def copy(self, path: Path) -> None:
        """Write a whole ledger to ``path``, which must not exist, while this one goes on.

        Raises:
            AgentError: ``path`` exists or cannot be written.
        """
        _create(path)
        with self._lock, self._told():
            target = sqlite3.connect(path)
            try:
                self._connection.backup(target)
            finally:
                target.close()

    def _prepare(self, *, new: bool) -> None:
        run = self._connection.execute
        run("PRAGMA synchronous = FULL")
        run("PRAGMA trusted_schema = OFF")
        if new:
            # One transaction, so that a crash leaves an empty file, which is refused, and no half ledger.
            statements = _TABLES + f"PRAGMA application_id = {_MAGIC}; PRAGMA user_version = {VERSION};"
            self._connection.executescript(f"BEGIN; {statements} COMMIT;")
        elif (
            run("PRAGMA application_id").fetchone()[0] != _MAGIC
            or run("PRAGMA quick_check(1)").fetchone()[0] != "ok"
        ):
            raise self._damaged()
        version = run("PRAGMA user_version").fetchone()[0]
        newer = newer_file(str(self.path), version, VERSION, kind=AgentError)
        if newer is not None:
            raise newer
        if version != VERSION:
            raise self._damaged()
        run("PRAGMA journal_mode = WAL")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """SQLite's errors as the agent's."""
        try:
            yield
        except sqlite3.ProgrammingError:
            raise
        except sqlite3.OperationalError as error:
            raise AgentError(
                f"cannot use the ledger {self.path} ({error})",
                remedy="free disk space, and end other programs that hold it open",
            ) from error
        except sqlite3.DatabaseError as error:
            raise self._damaged() from error

    def _damaged(self) -> AgentError:
        return AgentError(
            f"the ledger {self.path} is damaged",
            remedy="restore it from a backup and answer nothing until then: a new one would forget what was spent",
        )


def _create(path: Path) -> None:
    """An empty file for its owner alone, made before SQLite sees it: what SQLite puts beside it is like it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
        try:
            # An empty file is what a crash leaves before the first change.
            empty = os.fstat(handle).st_size == 0
        finally:
            os.close(handle)
    except OSError as error:
        raise AgentError(
            f"cannot write {path} ({error.strerror or error})",
            remedy="free disk space or choose a folder that you may write to",
        ) from error
    if not empty:
        raise AgentError(f"{path} exists already", remedy="keep it: a new ledger would forget what was spent")
