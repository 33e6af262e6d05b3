"""Both sides of a comparison: envelopes around what their workers make, and what is remembered.

question = GramAsker(member, responder_card, release=..., worker=Worker("gram-asker"), wrap=...).ask(rows, 0.5)
answer = GramResponder(...).answer(question.envelope, patients, pseudonyms, threshold=0.4, answers=...)
links = asker.links(question, answer)          at or above 0.5, the higher one
"""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from common.consortium.identity import Card, Member
from common.encryption.answers import Answers
from common.encryption.envelope import SIGNATURE_BYTES, seal, unseal
from common.encryption.gram_layout import MOST_ROWS, GramLayout
from common.encryption.gram_terms import (
    MOST_PATIENTS,
    PATIENTS_STEP,
    PSEUDONYM_BYTES,
    Pairing,
    checked_threshold,
    split_threshold,
    with_threshold,
)
from common.encryption.worker import Worker
from common.errors import DisclosureError, EncryptionError


@dataclass(frozen=True)
class Question:
    """A question on its way. ``sealed`` is its secret key, encrypted, so that a restart loses nothing."""

    envelope: bytes
    dimension: int
    rows: int
    threshold: float
    key_id: bytes
    bound_to: bytes
    sealed: bytes

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``from_json``."""
        return {name: value.hex() if isinstance(value, bytes) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Question:
        """The question that ``to_json`` described."""
        binary = ("envelope", "key_id", "bound_to", "sealed")
        values: dict[str, Any] = {**data, **{name: bytes.fromhex(data[name]) for name in binary}}
        return cls(**values)


@dataclass(frozen=True)
class Similar:
    """A row of the question, the pseudonym of a patient of the other hospital, and their rounded similarity."""

    row: int
    pseudonym: str
    similarity: float


class GramAsker:
    """The key holder's side towards one other hospital.

    Args:
        release: digest of the model release that the embeddings come from.
        worker: of kind "gram-asker".
        wrap: (32 bytes) encrypts the secret key of each question at rest.
    """

    def __init__(self, member: Member, responder: Card, *, release: bytes, worker: Worker, wrap: bytes) -> None:
        self._member, self._worker, self._wrap = member, worker, wrap
        self._pairing = Pairing(member.card, responder, release)

    def ask(self, rows: npt.NDArray[np.floating], threshold: float) -> Question:
        """A question over (n, d) unit embeddings, n at most ``MOST_ROWS``.

        Raises:
            DisclosureError: too many rows, or a threshold that nobody may ask for.
        """
        count, dimension = rows.shape
        data = {"rows": count, "dimension": dimension, "threshold": checked_threshold(threshold)}
        content = np.ascontiguousarray(rows, "<f8").tobytes()
        _check_rows(count)
        payload, sealed = self._worker.call(b"ask", json.dumps(data).encode(), content, self._wrap)
        terms = self._pairing.question_terms(GramLayout(dimension, count))
        envelope = seal(payload, terms, self._member, secrets.token_bytes(32))
        bound_to = self._pairing.transcript(envelope[:-SIGNATURE_BYTES])
        key_id = hashlib.sha256(payload).digest()
        return Question(envelope, dimension, count, threshold, key_id, bound_to, sealed)

    def links(self, question: Question, answer: bytes) -> list[Similar]:
        """The pairs at or above the higher threshold; of all others nothing leaves the worker.

        Raises:
            EncryptionError: the answer is not this responder's to this question, or its entries are out of range.
        """
        sizes = {"rows": question.rows, "dimension": question.dimension, "threshold": question.threshold}
        data = {**sizes, "pairing": self._pairing.to_json()}
        parts = (question.sealed, self._wrap, question.key_id, question.bound_to, answer)
        (content,) = self._worker.call(b"links", json.dumps(data).encode(), *parts)
        return [Similar(*link) for link in json.loads(content)]


class GramResponder:
    """The answering hospital's side towards one key holder.

    Args:
        release: digest of the model release that the embeddings come from.
        worker: of kind "gram-responder".
    """

    def __init__(self, member: Member, asker: Card, *, release: bytes, worker: Worker) -> None:
        self._member, self._worker = member, worker
        self._pairing = Pairing(asker, member.card, release)
        self._lock = threading.Lock()

    def answer(
        self,
        question: bytes,
        patients: npt.NDArray[np.floating],
        pseudonyms: Sequence[bytes],
        *,
        threshold: float,
        answers: Answers,
    ) -> bytes:
        """The signed, sanitised answer; a question that comes again gets the same bytes and costs nothing.

        Args:
            patients: (m, d) unit embeddings.
            pseudonyms: one of ``PSEUDONYM_BYTES`` bytes for each.
            threshold: this hospital's own.
            answers: charged one unit a row, before anything is computed.

        Raises:
            EncryptionError: the envelope is refused.
            DisclosureError: the rows are not covered by the budget.
        """
        questions = self._pairing.questions(patients.shape[1])
        opened = unseal(question, list(questions), self._pairing.asker)
        layout, bound_to = questions[opened.terms], self._pairing.transcript(opened.signed)
        theirs, content = split_threshold(opened.payload)
        agreed = max(theirs, checked_threshold(threshold))
        # One at a time: a question that comes twice at once must not be answered twice.
        with self._lock:
            answer = answers.find(opened.message_id, bound_to)
            if answer is None:
                answers.reserve(opened.message_id, bound_to, layout.rows)
                matrix, names = _padded(patients, pseudonyms)
                data = {"rows": layout.rows, "dimension": layout.dimension, "patients": len(matrix)}
                (entries,) = self._worker.call(b"answer", json.dumps(data).encode(), content, matrix.tobytes())
                found = GramLayout(layout.dimension, layout.rows, len(matrix))
                terms = self._pairing.answer_terms(found, hashlib.sha256(opened.payload).digest())
                payload = with_threshold(agreed, b"".join(names) + entries)
                answer = seal(payload, terms, self._member, bound_to)
                answers.put(opened.message_id, bound_to, answer)
        return answer


def _check_rows(count: int) -> None:
    if not 1 <= count <= MOST_ROWS:
        raise DisclosureError(f"a comparison of {count} patients", remedy=f"compare 1 to {MOST_ROWS} at a time")


def _padded(
    patients: npt.NDArray[np.floating], pseudonyms: Sequence[bytes]
) -> tuple[npt.NDArray[np.float64], list[bytes]]:
    """In random order and filled up with rows of zeros, which link with nobody."""
    fits = len(pseudonyms) == len(patients) <= MOST_PATIENTS and {len(name) for name in pseudonyms} <= {
        PSEUDONYM_BYTES
    }
    if not fits:
        raise EncryptionError(
            f"{len(patients)} patients under {len(pseudonyms)} pseudonyms",
            remedy=f"compare at most {MOST_PATIENTS}, with one pseudonym each",
        )
    count = -(-len(patients) // PATIENTS_STEP) * PATIENTS_STEP
    order = list(range(count))
    secrets.SystemRandom().shuffle(order)
    matrix = np.zeros((count, patients.shape[1]))
    matrix[order[: len(patients)]] = patients
    names = [secrets.token_bytes(PSEUDONYM_BYTES) for _ in range(count)]
    for place, name in zip(order, pseudonyms, strict=False):
        names[place] = name
    return matrix, names
