"""What a hospital has answered and asked, for good: budgets, stored answers, stored counts. No patient is in it.

    ledger = Ledger(path)
    account = ledger.answers(querier, lineages, STANDARD)     # for SiloSession.answer
    ledger.asked(lineages, 8, STANDARD)                       # before a batch of 8 is sent

An account is a hospital's name in the roster, so that neither a new card nor a new epoch or gallery renews it.
What a unit is and how it is booked stands in client.ledger.spending.
"""

from __future__ import annotations

import datetime
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path

from client.ledger.file import LedgerFile
from client.ledger.spending import QUERIER, Forecast, charge, forecast, left
from common.consortium.identity import Card
from common.encryption.refusal import refused
from common.errors import DisclosureError
from common.privacy.disclosure import Profile

DISCOVERY_ROWS = 16
"""Rows of a Gram block that one partner may ask for in a rolling year."""

STORED_BYTES = 256 << 20

_OWN, _DISCOVERY = "own", ("discovery",)


class Ledger:
    """One silo's ledger, for all threads of its agent.

    Args:
        today: the day that is booked.
        new: make the file, once, when a silo joins; a missing file is an error otherwise.
        stored_bytes: of answers to keep for replays; older ones go, their message ids stay.

    Raises:
        AgentError: the file is missing, damaged or of another version; see client.ledger.file.
    """

    def __init__(
        self,
        path: Path,
        *,
        today: Callable[[], datetime.date] = datetime.date.today,
        new: bool = False,
        stored_bytes: int = STORED_BYTES,
    ) -> None:
        self.file = LedgerFile(path, new=new)
        self.stored_bytes = stored_bytes
        self.today = today

    def close(self) -> None:
        """Give the file free."""
        self.file.close()

    def answers(self, querier: Card, lineages: Iterable[str], profile: Profile) -> LedgerAnswers:
        """One querier's account, for ``SiloSession.answer``. ``lineages``: of all rows served."""
        return LedgerAnswers(self, _account(querier), frozenset(lineages), profile.queries_a_year)

    def remaining(self, querier: Card, lineages: Iterable[str], profile: Profile) -> int:
        """Units that a querier may still ask of all these lineages; ``sys.maxsize`` without a budget."""
        return self._left(_account(querier), lineages, profile.queries_a_year)

    def left_to_ask(self, lineages: Iterable[str], profile: Profile) -> int:
        """Units that this hospital may still ask, by its own record of what it asked."""
        return self._left(_OWN, lineages, profile.queries_a_year)

    def asked(self, lineages: Iterable[str], units: int, profile: Profile) -> None:
        """Record what this hospital is about to ask, before it is sent.

        Raises:
            DisclosureError: the silos would refuse it; it says what remains, and nothing is recorded.
        """
        with self.file.change() as rows:
            charge(rows, _OWN, lineages, units, profile.queries_a_year, self.today())

    def discovery_remaining(self, partner: Card) -> int:
        """Rows that a partner may still ask for."""
        return self._left(_partner(partner), _DISCOVERY, DISCOVERY_ROWS)

    def discovered(self, partner: Card, rows: int) -> None:
        """Charge a partner for rows of a Gram block, before they are computed.

        Raises:
            DisclosureError: more than 16 in a rolling year; it says what remains.
        """
        with self.file.change() as connection:
            charge(connection, _partner(partner), _DISCOVERY, rows, DISCOVERY_ROWS, self.today())

    def counts_sent(self, epoch: int) -> bytes | None:
        """The sealed counts that this silo made for an epoch of that number, to be sent again as they are."""
        with self.file.read() as rows:
            found = rows.execute("SELECT message FROM counts WHERE epoch = ?", (epoch,)).fetchone()
        return found and bytes(found[0])

    def keep_counts(self, epoch: int, digest: bytes, message: bytes) -> bytes:
        """Store sealed counts before they are sent; what to send: ``message``, or what was stored before.

        Raises:
            DisclosureError: another epoch of the same number has this silo's counts already.
        """
        with self.file.change() as rows:
            found = rows.execute("SELECT digest, message FROM counts WHERE epoch = ?", (epoch,)).fetchone()
            if found is None:
                rows.execute("INSERT INTO counts VALUES (?, ?, ?)", (epoch, digest, message))
                return message
        if bytes(found[0]) != digest:
            raise DisclosureError(
                f"counts were given for another gallery epoch {epoch}", remedy="open an epoch with a new number"
            )
        return bytes(found[1])

    def forecast(self, profile: Profile) -> list[Forecast]:
        """One entry for each querier that asked within a year, those that end first in front."""
        with self.file.read() as rows:
            return forecast(rows, profile.queries_a_year, self.today())

    def _left(self, account: str, lineages: Iterable[str], budget: int | None) -> int:
        with self.file.read() as rows:
            return left(rows, account, lineages, budget, self.today())


class LedgerAnswers:
    """The ``Answers`` (common.encryption.answers) of one querier, for the lineages of one gallery."""

    def __init__(self, ledger: Ledger, account: str, lineages: frozenset[str], budget: int | None) -> None:
        self._ledger, self._account, self._lineages, self._budget = ledger, account, lineages, budget

    def find(self, message_id: bytes, bound_to: bytes) -> bytes | None:
        """The stored answer to a query that comes again, None for one that has none yet.

        Raises:
            EncryptionError: the message id was used for another query, or its answer is no longer stored.
        """
        with self._ledger.file.read() as rows:
            found = self._entry(rows, message_id, bound_to)
        return bytes(found[1]) if found is not None and found[0] == "stored" else None

    def reserve(self, message_id: bytes, bound_to: bytes, units: int) -> None:
        """Charge a query, once however often it is called; before anything is computed.

        Raises:
            DisclosureError: the budget does not cover it.
            EncryptionError: the message id was used for another query.
        """
        with self._ledger.file.change() as rows:
            if self._entry(rows, message_id, bound_to) is not None:
                return
            charge(rows, self._account, self._lineages, units, self._budget, self._ledger.today())
            rows.execute(
                "INSERT INTO answers (account, message, bound_to, state, size) VALUES (?, ?, ?, 'reserved', 0)",
                (self._account, message_id, bound_to),
            )

    def put(self, message_id: bytes, bound_to: bytes, answer: bytes) -> None:
        """Store an answer for good; it may be sent afterwards.

        Raises:
            EncryptionError: the query was not charged, or has an answer of other bytes already.
        """
        with self._ledger.file.change() as rows:
            found = self._entry(rows, message_id, bound_to)
            # Two answers to one query would show noise that differs: only the first may leave.
            if found is None or (found[0] == "stored" and bytes(found[1]) != answer):
                raise refused()
            rows.execute(
                "UPDATE answers SET state = 'stored', size = ?, answer = ? WHERE account = ? AND message = ?",
                (len(answer), answer, self._account, message_id),
            )
            _drop_oldest(rows, self._ledger.stored_bytes)

    def _entry(self, rows: sqlite3.Connection, message_id: bytes, bound_to: bytes) -> tuple[str, bytes] | None:
        found = rows.execute(
            "SELECT state, answer, bound_to FROM answers WHERE account = ? AND message = ?",
            (self._account, message_id),
        ).fetchone()
        if found is None:
            return None
        if found[0] == "dropped" or bytes(found[2]) != bound_to:
            raise refused()
        return found[0], found[1]


def _drop_oldest(rows: sqlite3.Connection, limit: int) -> None:
    """Forget the oldest answers beyond the limit, always keeping the newest; their ids stay."""
    stored = rows.execute("SELECT id, size FROM answers WHERE state = 'stored' ORDER BY id").fetchall()
    total = sum(size for _, size in stored)
    for entry, size in stored[:-1]:
        if total <= limit:
            return
        rows.execute("UPDATE answers SET state = 'dropped', size = 0, answer = NULL WHERE id = ?", (entry,))
        total -= size


def _account(querier: Card) -> str:
    return QUERIER + querier.name


def _partner(partner: Card) -> str:
    return f"partner {partner.name}"
