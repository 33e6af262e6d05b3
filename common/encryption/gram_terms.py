"""What two hospitals agree on before they compare patients, and the payloads of their two envelopes.

    ROWS      threshold (8) | question (gram_layout)
    ENTRIES   threshold (8) | m pseudonyms (16 each) | answer (gram_layout)

The threshold of an answer is the higher one of both hospitals. m is rounded up, so that it does not say how many
patients the other hospital compares.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from common.consortium.identity import Card
from common.encryption.envelope import NOTHING, Kind, Terms
from common.encryption.gram_layout import GRAM, MOST_ROWS, GramLayout
from common.encryption.refusal import refused
from common.errors import DisclosureError

LEAST_THRESHOLD = 0.3
"""Far below this, chance fills the list of links, and the list tells more of the other hospital's patients than a
link should."""

PSEUDONYM_BYTES = 16
PATIENTS_STEP = 32
MOST_PATIENTS = 2048

_THRESHOLD = struct.Struct(">d")


@dataclass(frozen=True)
class Pairing:
    """Who asks whom, on embeddings of which release (32 bytes, its digest)."""

    asker: Card
    responder: Card
    release: bytes

    @property
    def digest(self) -> bytes:
        """(32 bytes) what the envelopes of this pairing name in place of a panel."""
        parts = b"phenofed pairing 1" + self.asker.fingerprint + self.responder.fingerprint
        return hashlib.sha256(parts + hashlib.sha256(self.release).digest()).digest()

    def questions(self, dimension: int) -> dict[Terms, GramLayout]:
        """What a question may come under: any admitted count of rows."""
        layouts = [GramLayout(dimension, rows) for rows in range(1, MOST_ROWS + 1)]
        return {self.question_terms(layout): layout for layout in layouts}

    def question_terms(self, layout: GramLayout) -> Terms:
        """What one question comes under."""
        length = _THRESHOLD.size + layout.question_bytes
        return Terms(Kind.ROWS, GRAM.digest, layout.digest, self.digest, NOTHING, length)

    def answers(self, question: GramLayout, key_id: bytes) -> dict[Terms, GramLayout]:
        """What an answer may come under: any padded count of patients."""
        counts = range(0, MOST_PATIENTS + 1, PATIENTS_STEP)
        layouts = [GramLayout(question.dimension, question.rows, patients) for patients in counts]
        return {self.answer_terms(layout, key_id): layout for layout in layouts}

    def answer_terms(self, layout: GramLayout, key_id: bytes) -> Terms:
        """What one answer comes under; ``key_id`` is the SHA-256 of the question's payload, with its key."""
        length = _THRESHOLD.size + layout.patients * PSEUDONYM_BYTES + layout.answer_bytes
        return Terms(Kind.ENTRIES, GRAM.digest, layout.digest, self.digest, key_id, length)

    def transcript(self, signed: bytes) -> bytes:
        """(32 bytes) what an answer is bound to: the question's envelope without its signature."""
        return hashlib.sha256(b"phenofed gram transcript 1" + self.digest + signed).digest()

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``from_json``."""
        cards = {"asker": self.asker.to_json(), "responder": self.responder.to_json()}
        return {**cards, "release": self.release.hex()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Pairing:
        """The pairing that ``to_json`` described."""
        asker, responder = (Card.from_json(data[side]) for side in ("asker", "responder"))
        return cls(asker, responder, bytes.fromhex(data["release"]))


def checked_threshold(threshold: float) -> float:
    """The threshold itself.

    Raises:
        DisclosureError: below the floor, or above what a similarity can be.
    """
    if not LEAST_THRESHOLD <= threshold <= 1:
        raise DisclosureError(
            f"a link threshold of {threshold:g}", remedy=f"agree on one between {LEAST_THRESHOLD} and 1"
        )
    return threshold


def with_threshold(threshold: float, content: bytes) -> bytes:
    """A payload that starts with its threshold."""
    return _THRESHOLD.pack(checked_threshold(threshold)) + content


def split_threshold(payload: bytes) -> tuple[float, bytes]:
    """Threshold and content of a payload.

    Raises:
        EncryptionError: a threshold that nobody may ask for.
    """
    (threshold,) = _THRESHOLD.unpack_from(payload)
    if not LEAST_THRESHOLD <= threshold <= 1:
        raise refused()
    return threshold, payload[_THRESHOLD.size :]


def split_entries(content: bytes, layout: GramLayout) -> tuple[Sequence[bytes], bytes]:
    """Pseudonyms of the patients, and the answer, out of what follows the threshold."""
    end = layout.patients * PSEUDONYM_BYTES
    return [content[at : at + PSEUDONYM_BYTES] for at in range(0, end, PSEUDONYM_BYTES)], content[end:]
