"""What a Gram block needs of SEAL: columns, fresh encryptions of zero, and the key holder's decryption.

Runs in worker processes only. Polynomials are given and taken as coefficients, not in evaluation form. Each c1
comes as the seed that the library expands, and so does half of the public key: a sender who could choose them
would read rows out of c1.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import tenseal.sealapi as sealapi

from common.encryption import residues, seal_stream
from common.encryption.gram_layout import ANSWER_SCALE, GRAM, coefficients_of, slots_of
from common.encryption.refusal import refused
from common.encryption.seal import SealScheme

Coefficients: TypeAlias = npt.NDArray[np.uint64]
_MODULI = (GRAM.answer_modulus,)


class GramScheme(SealScheme):
    """SEAL at the parameters ``GRAM``.

    Args:
        folder: private and empty.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, GRAM)
        self._level = list(self._context.first_parms_id())
        self._column = self._shape(self._level, 1, GRAM.scale)
        self._column_coefficients = replace(self._column, evaluated=False)
        self._zero = replace(self._column, scale=1.0, evaluated=False)
        self._sum = replace(self._column, scale=ANSWER_SCALE, evaluated=False)

    def make_secret(self) -> Any:
        """A fresh secret key; ``save_secret`` and ``load_secret`` let it rest."""
        return self._secret_keys(sealapi.KeyGenerator(self._context).secret_key())

    def public_key(self, secret: Any) -> bytes:
        """Fresh: one polynomial, and the seed of the other."""
        # A public key is an encryption of zero; made this way it carries the seed of its uniform half.
        zero = secret.encryptor.encrypt_zero_symmetric(list(self._context.key_parms_id()))
        first, seed = seal_stream.read_seeded_ciphertext(self._save(zero), self._key)
        return residues.pack(first, GRAM.moduli) + seed

    def load_public_key(self, payload: bytes) -> Any:
        """An encryptor for fresh encryptions of zero.

        Raises:
            EncryptionError: a residue above its prime.
        """
        first = residues.unpack(payload[: -residues.SEED_BYTES], GRAM.moduli, GRAM.degree)
        stream = seal_stream.ciphertext(self._key, first, payload[-residues.SEED_BYTES :])
        return sealapi.Encryptor(self._context, self._load(sealapi.PublicKey(), stream))

    def encrypt_columns(self, rows: npt.NDArray[np.float64], secret: Any) -> bytes:
        """(n, d) embeddings: for each dimension the first n coefficients of c0, and the seed of c1."""
        return b"".join(self._encrypt_column(column, secret.encryptor) for column in rows.T)

    def admit_column(self, payload: bytes, rows: int) -> tuple[Coefficients, Coefficients]:
        """(n,) coefficients of c0 and (N,) of c1.

        Raises:
            EncryptionError: a residue above the prime.
        """
        first = residues.unpack(payload[: -residues.SEED_BYTES], _MODULI, rows)[0]
        empty = np.zeros((1, GRAM.degree), dtype=np.uint64)
        seeded = seal_stream.ciphertext(self._column, empty, payload[-residues.SEED_BYTES :])
        _, second = self._coefficients(self._load(sealapi.Ciphertext(), seeded), self._column_coefficients)
        return first, second

    def zero(self, encryptor: Any) -> tuple[Coefficients, Coefficients]:
        """A fresh encryption of zero, (N,) coefficients of c0 and of c1."""
        fresh = sealapi.Ciphertext()
        encryptor.encrypt_zero(self._level, fresh)
        return self._coefficients(fresh, self._zero)

    def entries(self, first: Coefficients, second: Coefficients, secret: Any) -> npt.NDArray[np.float64]:
        """(n,) inner products out of (n,) coefficients of c0 and (N,) of c1.

        Raises:
            EncryptionError: a residue above the prime.
        """
        if np.any(first >= GRAM.answer_modulus) or np.any(second >= GRAM.answer_modulus):
            raise refused()
        padded = np.zeros((2, 1, GRAM.degree), dtype=np.uint64)
        padded[0, 0, : len(first)], padded[1, 0] = first, second
        block = self._load(sealapi.Ciphertext(), seal_stream.ciphertext(self._sum, padded[0], padded[1]))
        self._evaluator.transform_to_ntt_inplace(block)
        plain = sealapi.Plaintext()
        secret.decryptor.decrypt(block, plain)
        slots = np.array(self._encoder.decode_complex(plain), dtype=np.complex128)
        return coefficients_of(slots)[: len(first)]

    def _encrypt_column(self, column: npt.NDArray[np.float64], encryptor: Any) -> bytes:
        plain = sealapi.Plaintext()
        self._encoder.encode(slots_of(column).tolist(), GRAM.scale, plain)
        stream = self._save(encryptor.encrypt_symmetric(plain))
        _, seed = seal_stream.read_seeded_ciphertext(stream, self._column)
        first, _ = self._coefficients(self._load(sealapi.Ciphertext(), stream), self._column_coefficients)
        return residues.pack(first[None, : len(column)], _MODULI) + seed

    def _coefficients(self, ciphertext: Any, shape: seal_stream.Shape) -> tuple[Coefficients, Coefficients]:
        self._evaluator.transform_from_ntt_inplace(ciphertext)
        first, second = seal_stream.read_ciphertext(self._save(ciphertext), shape)
        return first[0], second[0]
