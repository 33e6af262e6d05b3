"""Rows of Gram blocks by partner and rolling year, in the hospital's ledger: those answered, and those asked.

Each row that a partner may ask is one more number about every unsolved patient here, so rows are counted by
partner, never by patient, and neither a new key nor a restart renews them.
"""

from __future__ import annotations

from client.ledger.ledger import DISCOVERY_ROWS, Ledger, LedgerAnswers
from client.ledger.spending import left
from common.consortium.identity import Card

_SCOPE = frozenset({"discovery"})


class DiscoveryRows:
    """The accounts of discovery.

    Args:
        rows_a_year: this hospital's limit for each partner, at most ``DISCOVERY_ROWS``.
    """

    def __init__(self, ledger: Ledger, rows_a_year: int = DISCOVERY_ROWS) -> None:
        self._ledger, self._budget = ledger, min(rows_a_year, DISCOVERY_ROWS)

    def answers(self, partner: Card) -> LedgerAnswers:
        """What the partner asked here, for ``DiscoveryResponder``."""
        return LedgerAnswers(self._ledger, _theirs(partner), _SCOPE, self._budget)

    def rows_left(self, partner: Card) -> int:
        """Rows that this hospital may still ask of the partner, by its own record and the rule of all."""
        with self._ledger.file.read() as rows:
            return left(rows, _own(partner), _SCOPE, DISCOVERY_ROWS, self._ledger.today())

    def rows_to_answer(self, partner: Card) -> int:
        """Rows that the partner may still ask here."""
        with self._ledger.file.read() as rows:
            return left(rows, _theirs(partner), _SCOPE, self._budget, self._ledger.today())

    def spend_rows(self, partner: Card, rows: int, message_id: bytes) -> None:
        """Record a question before it is sent, once however often.

        Raises:
            DisclosureError: more rows than are left.
        """
        LedgerAnswers(self._ledger, _own(partner), _SCOPE, DISCOVERY_ROWS).reserve(message_id, message_id, rows)


def _theirs(partner: Card) -> str:
    return f"partner {partner.name}"


def _own(partner: Card) -> str:
    return f"own discovery {partner.name}"
