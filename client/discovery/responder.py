"""The hospital that answers: opt-in, rows counted, nothing but sanitised entries under pseudonyms."""

from __future__ import annotations

from client.discovery.pseudonyms import Pseudonyms
from client.discovery.unsolved import Unsolved
from common.consortium.identity import Card
from common.encryption.answers import Answers
from common.encryption.gram_session import GramResponder
from common.errors import DisclosureError


class DiscoveryResponder:
    """One hospital answering one partner.

    Args:
        session: its side of the encryption.
        allowed: whether this hospital opted in.
        threshold: least similarity of a link, by this hospital's policy; the higher of both holds.
        answers: the partner's account in the ledger (client.discovery.rows).
    """

    def __init__(
        self,
        session: GramResponder,
        partner: Card,
        *,
        allowed: bool,
        threshold: float,
        pseudonyms: Pseudonyms,
        answers: Answers,
    ) -> None:
        self._session, self._partner = session, partner
        self._allowed, self._threshold = allowed, threshold
        self._pseudonyms, self._answers = pseudonyms, answers

    def answer(self, question: bytes, unsolved: Unsolved) -> bytes:
        """The answer to a question's envelope; the same bytes if it comes again.

        Raises:
            DisclosureError: this hospital did not opt in, or the partner's rows are spent.
            EncryptionError: the envelope is refused.
        """
        if not self._allowed:
            raise DisclosureError(
                "this hospital does not take part in discovery", remedy="set allow.discover in its policy"
            )
        names = [bytes.fromhex(name) for name in self._pseudonyms.of(self._partner.name, unsolved.ids)]
        return self._session.answer(
            question, unsolved.matrix, names, threshold=self._threshold, answers=self._answers
        )
