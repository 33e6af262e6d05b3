"""The hospital that asks: it chooses patients, keeps the key, and gets links."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from client.discovery.links import Link
from client.discovery.pseudonyms import Pseudonyms
from client.discovery.unsolved import Unsolved
from common.consortium.identity import Card
from common.encryption.gram_layout import MOST_ROWS
from common.encryption.gram_session import GramAsker, Question
from common.errors import DisclosureError


class RowBudget(Protocol):
    """What this hospital has asked of each partner, durably."""

    def rows_left(self, partner: Card) -> int:
        """Rows that may still be asked."""

    def spend_rows(self, partner: Card, rows: int, message_id: bytes) -> None:
        """Charge a question, once however often it is called.

        Raises:
            DisclosureError: more rows than are left.
        """


@dataclass(frozen=True)
class PatientQuestion:
    """A question and whose rows are in it; to be kept privately until its answer has come."""

    patients: tuple[str, ...]
    question: Question

    @property
    def envelope(self) -> bytes:
        """What goes to the partner."""
        return self.question.envelope

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``from_json``."""
        return {"patients": list(self.patients), "question": self.question.to_json()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> PatientQuestion:
        """The question that ``to_json`` described."""
        return cls(tuple(data["patients"]), Question.from_json(data["question"]))


class DiscoveryAsker:
    """One hospital asking one partner.

    Args:
        session: its key holder's side.
        threshold: least similarity of a link, by this hospital's policy.
        budget: what may still be asked.
    """

    def __init__(
        self, session: GramAsker, partner: Card, *, threshold: float, pseudonyms: Pseudonyms, budget: RowBudget
    ) -> None:
        self._session, self._partner, self._threshold = session, partner, threshold
        self._pseudonyms, self._budget = pseudonyms, budget

    def ask(self, patients: Sequence[str], unsolved: Unsolved) -> PatientQuestion:
        """A question over some of the unsolved patients, charged; send its envelope.

        Raises:
            DisclosureError: more patients than are left to ask, one who may not be compared, or one named twice;
                nothing is charged.
        """
        left = min(self._budget.rows_left(self._partner), MOST_ROWS)
        if not 1 <= len(patients) <= left:
            raise DisclosureError(
                f"{len(patients)} patients, and {left} may be compared with {self._partner.name} within a year",
                remedy=f"choose at most {left}" if left else "wait until earlier comparisons are a year old",
            )
        if not set(patients) <= set(unsolved.ids) or len(set(patients)) != len(patients):
            raise DisclosureError(
                "some of the chosen patients may not be compared",
                remedy="choose unsolved patients with a photo who agreed to discovery, each once",
            )
        question = self._session.ask(unsolved.rows(tuple(patients)), self._threshold)
        self._budget.spend_rows(self._partner, len(patients), question.bound_to)
        return PatientQuestion(tuple(patients), question)

    def links(self, asked: PatientQuestion, answer: bytes) -> list[Link]:
        """The links of an answer, the most similar first; to be offered.

        Raises:
            EncryptionError: the answer is refused.
        """
        found = self._session.links(asked.question, answer)
        names = self._pseudonyms.of(self._partner.name, asked.patients)
        links = [
            Link(
                partner=self._partner.name,
                patient=asked.patients[similar.row],
                ours=names[similar.row],
                theirs=similar.pseudonym,
                similarity=similar.similarity,
            )
            for similar in found
        ]
        return sorted(links, key=lambda link: (-link.similarity, link.name))
