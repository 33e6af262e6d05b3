"""A Gram block by the library's own scalar products: what ``gram_product`` is measured against.

One multiplication by a scalar plaintext and one addition for each dimension, and nothing is sanitised: for tests
and benchmarks, and no service uses it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import tenseal.sealapi as sealapi

from common.encryption.gram_layout import ENTRY_BITS
from common.encryption.seal import SealScheme


class ScalarBlock:
    """(n, d) rows in the slots of d ciphertexts, n at most M, under a key of its own."""

    def __init__(self, scheme: SealScheme, rows: npt.NDArray[np.float64]) -> None:
        self._scheme, self._rows = scheme, len(rows)
        self._secret = scheme._secret_keys(sealapi.KeyGenerator(scheme._context).secret_key())
        # A ring with one data prime has none to rescale by: the scalars' scale stays in the result.
        self._rescales = len(scheme.parameters.data_moduli) > 1
        self._scale = scheme.parameters.scale if self._rescales else 2.0**ENTRY_BITS
        self._columns = [self._encrypt(column) for column in rows.T]

    def product(self, patient: npt.NDArray[np.float64]) -> Any:
        """The encrypted inner products of one (d,) embedding with all rows."""
        evaluator, encoder = self._scheme._evaluator, self._scheme._encoder
        total, part, plain = None, sealapi.Ciphertext(), sealapi.Plaintext()
        for column, value in zip(self._columns, patient.tolist(), strict=True):
            encoder.encode(value, self._scale, plain)
            if total is None:
                total = sealapi.Ciphertext()
                evaluator.multiply_plain(column, plain, total)
            else:
                evaluator.multiply_plain(column, plain, part)
                evaluator.add_inplace(total, part)
        if self._rescales:
            evaluator.rescale_to_next_inplace(total)
        return total

    def entries(self, product: Any) -> npt.NDArray[np.float64]:
        """(n,) what ``product`` holds."""
        plain = sealapi.Plaintext()
        self._secret.decryptor.decrypt(product, plain)
        return np.array(self._scheme._encoder.decode_double(plain))[: self._rows]

    def _encrypt(self, column: npt.NDArray[np.float64]) -> Any:
        plain, found = sealapi.Plaintext(), sealapi.Ciphertext()
        self._scheme._encoder.encode(column.tolist(), self._scheme.parameters.scale, plain)
        self._secret.encryptor.encrypt_symmetric(plain, found)
        return found
