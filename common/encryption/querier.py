"""The querier's own part, in its worker: encryption, and the sum that nobody else can read.

Raw decryptions never leave: published attacks recover a CKKS key from them (Li and Micciancio, Eurocrypt 2021).
A sum that is out of range is refused like a forged one, and scores are rounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from common.encryption.closed_rows import open_closed
from common.encryption.envelope import unseal
from common.encryption.key_epoch import KeyEpoch
from common.encryption.panel import Panel
from common.encryption.refusal import refused
from common.encryption.sanitise import Noise
from common.encryption.scheme import Scheme, SecretKeys
from common.encryption.sealed_keys import open_secret, seal_secret
from common.encryption.sizes import answer_bytes, block_bytes
from common.errors import EncryptionError

DECIMALS = 6
LARGEST_SCORE = 1.01
_DEVIATIONS = 16
"""How many standard deviations of the silos' noise an honest sum may lie outside; scaled noise has long tails."""


@dataclass(frozen=True)
class Asked:
    """What the answers to a query must fit: panel, layout, transcript, and the noise that its silos add."""

    panel: Panel
    layout: int
    bound_to: bytes
    noise: Noise


def make_keys(scheme: Scheme, epoch: KeyEpoch, wrap: bytes) -> tuple[bytes, bytes]:
    """The payload of KEYS, and the secret key sealed under ``wrap``; in clear it stays here and is forgotten."""
    secret, payload = scheme.make_keys(epoch.rotations)
    key_id = epoch.key_id(payload)
    return payload, scheme.save_secret(secret, lambda content: seal_secret(content, wrap, key_id))


class Querier:
    """The secret keys of one key epoch.

    Args:
        sealed: what ``make_keys`` gave.
        wrap: (32 bytes) the key that it was sealed under.
        key_id: of the public keys that it belongs to.

    Raises:
        EncryptionError: it does not open.
    """

    def __init__(self, scheme: Scheme, epoch: KeyEpoch, *, sealed: bytes, wrap: bytes, key_id: bytes) -> None:
        self._scheme, self._epoch, self._key_id = scheme, epoch, key_id
        self._secret: SecretKeys = scheme.load_secret(open_secret(sealed, wrap, key_id))

    def encrypt(self, queries: npt.NDArray[np.float64], layout: int) -> bytes:
        """(n, d) unit embeddings as the payload of a query in one of the epoch's layouts.

        Raises:
            EncryptionError: not unit rows, or more than the layout holds.
        """
        if not np.all(np.abs(np.linalg.norm(queries, axis=-1) - 1) <= 1e-3):
            raise EncryptionError("an embedding is not of unit norm", remedy="normalise it first")
        return self._scheme.encrypt(self._epoch.layouts[layout].pack(queries), self._secret)

    def scores(
        self, envelopes: Sequence[bytes], asked: Asked, *, closed_keys: Sequence[bytes]
    ) -> npt.NDArray[np.float64]:
        """(queries, S) float64, rounded: the panel's sum, NaN where any silo closed a row.

        Args:
            envelopes: one answer from each silo, in the panel's order.
            closed_keys: in the same order, what each silo sealed its closed rows under.

        Raises:
            EncryptionError: an answer is missing, forged, or to another query, or the sum is out of range.
        """
        layout, members = self._epoch.layouts[asked.layout], asked.panel.members
        if not len(envelopes) == len(closed_keys) == len(members):
            raise refused()
        terms = self._epoch.answer_terms(layout, asked.panel, self._key_id)
        payloads = [
            unseal(envelope, [terms], card, message_id=asked.bound_to).payload
            for envelope, card in zip(envelopes, members, strict=True)
        ]
        size, blocks = block_bytes(layout.parameters), answer_bytes(layout)
        closed = np.zeros(layout.rows, dtype=bool)
        for payload, key in zip(payloads, closed_keys, strict=True):
            closed |= open_closed(payload[blocks:], layout.rows, key)
        sums = np.stack(
            [
                self._scheme.decrypt_sum([payload[start : start + size] for payload in payloads], self._secret)
                for start in range(0, blocks, size)
            ]
        )
        scores = np.round(layout.unpack(sums.real), DECIMALS)
        _check_range(scores[:, ~closed], asked)
        scores[:, closed] = np.nan
        return scores


def _check_range(scores: npt.NDArray[np.float64], asked: Asked) -> None:
    spread = _DEVIATIONS * asked.noise.deviation * np.sqrt(len(asked.panel.members))
    # Written so that NaN is refused too.
    if not np.all(np.abs(scores) <= LARGEST_SCORE + spread):
        raise refused()
