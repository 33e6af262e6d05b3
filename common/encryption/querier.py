"""The querier's own part, in its worker: keys, encryption, and the sum that nobody else can read.

Raw decryptions never leave: published attacks recover a CKKS key from them (Li and Micciancio, Eurocrypt 2021).
A sum that is out of range is refused like a forged one, and scores are rounded.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from common.encryption.envelope import unseal
from common.encryption.epoch import Epoch
from common.encryption.refusal import refused
from common.encryption.scheme import Scheme
from common.encryption.sizes import answer_bytes, block_bytes
from common.errors import EncryptionError

DECIMALS = 6
LARGEST_SCORE = 1.01
LARGEST_IMAGINARY = 1e-3


class Querier:
    """The secret keys of one epoch, made here."""

    def __init__(self, scheme: Scheme, epoch: Epoch) -> None:
        self._scheme, self._epoch = scheme, epoch
        self._secret, self.public_keys = scheme.make_keys(epoch.rotations)
        self._key_id = epoch.key_id(self.public_keys)

    def encrypt(self, queries: npt.NDArray[np.float64], layout: int) -> bytes:
        """(n, d) unit embeddings as the payload of a query in one of the epoch's layouts.

        Raises:
            EncryptionError: not unit rows, or more than the layout holds.
        """
        if not np.all(np.abs(np.linalg.norm(queries, axis=-1) - 1) <= 1e-3):
            raise EncryptionError("an embedding is not of unit norm", remedy="normalise it first")
        return self._scheme.encrypt(self._epoch.layouts[layout].pack(queries), self._secret)

    def scores(self, envelopes: Sequence[bytes], *, bound_to: bytes, layout: int) -> npt.NDArray[np.float64]:
        """(queries, S) float64, rounded: the panel's sum.

        Args:
            envelopes: one answer from each silo, in the panel's order.
            bound_to: the transcript of the query.

        Raises:
            EncryptionError: an answer is missing, forged, or to another query, or the sum is out of range.
        """
        used, panel = self._epoch.layouts[layout], self._epoch.panel
        if len(envelopes) != len(panel.members):
            raise refused()
        terms = self._epoch.answer_terms(used, self._key_id)
        payloads = [
            unseal(envelope, [terms], card, message_id=bound_to).payload
            for envelope, card in zip(envelopes, panel.members, strict=True)
        ]
        size = block_bytes(used.parameters)
        sums = np.stack(
            [
                self._scheme.decrypt_sum([payload[start : start + size] for payload in payloads], self._secret)
                for start in range(0, answer_bytes(used), size)
            ]
        )
        if not (np.all(np.abs(sums.real) <= LARGEST_SCORE) and np.all(np.abs(sums.imag) <= LARGEST_IMAGINARY)):
            raise refused()
        return np.round(used.unpack(sums.real), DECIMALS)
