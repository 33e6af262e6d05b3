"""A Gram block under encryption: the key holder's rows times the other hospital's patients.

What the key holder, who may send whatever it likes and knows its own randomness, learns of a patient b is n
numbers <w_i, b> modulo q0, each under noise, for n functionals w_i of its choice, and nothing else:

- only the n admitted coefficients of c0 are computed, so nothing can be asked beside them;
- c1, a known linear function of b, takes a fresh encryption of zero (under a public key whose uniform half its
  sender could not choose), as does what is left of the ciphertexts' noise;
- each coefficient takes noise far above that of the ciphertexts.

``sanitise_block`` does all of it, and nothing else turns an evaluation into bytes. Where n reaches d, the n
numbers are the patient: the count of rows is the defence that matters (``gram_layout.MOST_ROWS``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from common.encryption import residues
from common.encryption.gram_layout import (
    ANSWER_SCALE,
    ENTRY_BITS,
    GRAM,
    GramLayout,
    pack_upper,
    unpack_upper,
)
from common.encryption.gram_product import Limbs
from common.encryption.gram_seal import GramScheme
from common.encryption.normal import system_normal
from common.encryption.refusal import refused
from common.errors import EncryptionError

NOISE = 1e-4
"""Standard deviation of the noise on an entry: a link is told in hundredths."""

_LARGEST_ENTRY = 1.05
_MODULI = (GRAM.answer_modulus,)


@dataclass(frozen=True)
class Columns:
    """A question that was admitted: its ciphertexts, cut for the product, and the asker's public key."""

    layout: GramLayout
    first: Limbs
    second: Limbs
    encryptor: Any


class BlockEvaluation:
    """Encrypted inner products that nobody may see as bytes yet; ``sanitise_block`` takes them from here.

    It has no serialisation, cannot be pickled or copied, and shows nothing of itself.
    """

    __slots__ = ("_columns", "_first", "_second")

    def __init__(self, columns: Columns, patients: npt.NDArray[np.int64]) -> None:
        self._columns = columns
        self._first, self._second = columns.first.product(patients), columns.second.product(patients)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise EncryptionError("an evaluation leaves only through sanitise_block", remedy="sanitise it")

    def __repr__(self) -> str:
        return f"<BlockEvaluation of {len(self._first)} patients>"


def ask(scheme: GramScheme, rows: npt.NDArray[np.float64], secret: Any) -> bytes:
    """(n, d) unit embeddings as the payload of a question, with a public key of its own.

    Raises:
        EncryptionError: not unit rows.
    """
    _check_unit(rows)
    return scheme.public_key(secret) + scheme.encrypt_columns(rows, secret)


def admit_columns(scheme: GramScheme, payload: bytes, layout: GramLayout) -> Columns:
    """A question's payload, checked and expanded; takes about 49 kB a dimension.

    Raises:
        EncryptionError: not of the exact length, or residues above a prime.
    """
    if len(payload) != layout.question_bytes:
        raise refused()
    encryptor = scheme.load_public_key(payload[: layout.key_bytes])
    starts = range(layout.key_bytes, len(payload), layout.column_bytes)
    found = [scheme.admit_column(payload[at : at + layout.column_bytes], layout.rows) for at in starts]
    first, second = (Limbs(np.stack(part), GRAM.answer_modulus) for part in zip(*found, strict=True))
    return Columns(layout, first, second, encryptor)


def evaluate_block(columns: Columns, patients: npt.NDArray[np.float64]) -> BlockEvaluation:
    """The inner products of (m, d) unit embeddings, or rows of zeros, with the admitted rows.

    Raises:
        EncryptionError: not unit rows, or of another length.
    """
    if patients.ndim != 2 or patients.shape[1] != columns.layout.dimension:
        raise EncryptionError("patients of another length", remedy="compare embeddings of one release")
    _check_unit(patients[np.any(patients, axis=1)])
    return BlockEvaluation(columns, np.rint(patients * 2.0**ENTRY_BITS).astype(np.int64))


def sanitise_block(scheme: GramScheme, evaluation: BlockEvaluation, *, noise: float = NOISE) -> bytes:
    """Blind and serialise: the payload of an answer, ``GramLayout.answer_bytes`` long.

    Args:
        noise: standard deviation of the noise on an entry; 0 only in tests of what it is for.
    """
    columns, modulus = evaluation._columns, np.uint64(GRAM.answer_modulus)
    rows, parts = columns.layout.rows, []
    for first, second in zip(evaluation._first, evaluation._second, strict=True):
        zero, cover = scheme.zero(columns.encryptor)
        blur = np.rint(noise * ANSWER_SCALE * system_normal(rows)).astype(np.int64) % GRAM.answer_modulus
        entries = ((first + zero[:rows]) % modulus + blur.astype(np.uint64)) % modulus
        parts += [residues.pack(entries[None], _MODULI), pack_upper((second + cover) % modulus)]
    return b"".join(parts)


def read_block(scheme: GramScheme, payload: bytes, layout: GramLayout, secret: Any) -> npt.NDArray[np.float64]:
    """(m, n) noisy inner products; for the key holder's worker alone.

    Raises:
        EncryptionError: not of the exact length, residues above the prime, or entries that no unit rows have.
    """
    if len(payload) != layout.answer_bytes:
        raise refused()
    found = np.empty((layout.patients, layout.rows))
    half = residues.size(_MODULI, layout.rows)
    for index, start in enumerate(range(0, len(payload), layout.entry_bytes)):
        first = residues.unpack(payload[start : start + half], _MODULI, layout.rows)[0]
        second = unpack_upper(payload[start + half : start + layout.entry_bytes])
        found[index] = scheme.entries(first, second, secret)
    if not np.all(np.abs(found) <= _LARGEST_ENTRY):
        raise refused()
    return found


def _check_unit(rows: npt.NDArray[np.float64]) -> None:
    if not np.all(np.abs(np.linalg.norm(rows, axis=-1) - 1) <= 1e-3):
        raise EncryptionError("an embedding is not of unit norm", remedy="normalise it first")
