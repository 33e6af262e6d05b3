"""Where a Gram block lies: the parameters, the columns that go up, the entries that come down.

The key holder packs its patients' embeddings by columns, one ciphertext for each of the d dimensions with patient
i in *coefficient* i, so that the inner products with another hospital's patient are the sum of the ciphertexts
times d numbers: nothing is rotated, and no key is needed for it. Such a sum acts on each coefficient alone, hence
only the n first coefficients of c0 ever travel, in either direction: there is no place for a hidden row, a second
embedding in imaginary parts, or a partial sum.

    question   public key | seed of its half || d times: n coefficients of c0 | seed of c1
    answer     m times: n coefficients of c0 | c1, upper 5 bytes of each of its N coefficients
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.fft import fft  # by name: numpy loads it late, and a confined worker could not

from common.encryption import residues
from common.encryption.parameters import Parameters
from common.errors import EncryptionError

GRAM = Parameters(degree=4096, bits=(60, 49), moduli=(1152921504606830593, 562949953216513), scale_bits=34)
"""One data prime, no rescaling: 109 bits, the most that degree 4096 may have at 128-bit security."""

ENTRY_BITS = 22
"""A patient of the answering hospital is rounded to integers of this scale, an entry to 3e-7 at most."""

ANSWER_SCALE = 2.0 ** (GRAM.scale_bits + ENTRY_BITS)

MOST_ROWS = 16
"""Rows that hospitals admit; larger blocks are for simulations and benchmarks."""

MOST_DIMENSION = 2048

_WORD, _UPPER = 8, 5


@dataclass(frozen=True)
class GramLayout:
    """``rows`` patients of the key holder against ``patients`` of the other hospital.

    Raises:
        EncryptionError: sizes that no block has.
    """

    dimension: int
    rows: int
    patients: int = 0

    def __post_init__(self) -> None:
        fits = 1 <= self.dimension <= MOST_DIMENSION and 1 <= self.rows <= GRAM.degree and self.patients >= 0
        if not fits:
            raise EncryptionError(
                f"a Gram block of {self.rows} rows of length {self.dimension}",
                remedy=f"use at most {GRAM.degree} rows of length {MOST_DIMENSION}",
            )

    @property
    def digest(self) -> bytes:
        """(32 bytes) what two sides compare to know that they mean the same block."""
        text = f"phenofed gram 1|{self.dimension}|{self.rows}|{self.patients}|{ENTRY_BITS}|"
        return hashlib.sha256(text.encode() + GRAM.digest).digest()

    @property
    def key_bytes(self) -> int:
        """The public key: one polynomial, and the seed of the other."""
        return residues.size(GRAM.moduli, GRAM.degree) + residues.SEED_BYTES

    @property
    def column_bytes(self) -> int:
        """One dimension of the key holder's patients."""
        return _WORD * self.rows + residues.SEED_BYTES

    @property
    def question_bytes(self) -> int:
        """The public key and all columns."""
        return self.key_bytes + self.dimension * self.column_bytes

    @property
    def entry_bytes(self) -> int:
        """One patient of the answering hospital against all rows."""
        return _WORD * self.rows + _UPPER * GRAM.degree

    @property
    def answer_bytes(self) -> int:
        """All patients."""
        return self.patients * self.entry_bytes


def slots_of(coefficients: npt.NDArray[np.float64]) -> npt.NDArray[np.complex128]:
    """(N / 2,) slots whose encoding is the polynomial with these (n,) first coefficients, the others zero."""
    values = fft(coefficients, 2 * GRAM.degree)
    return np.conj(values[_roots()])


def coefficients_of(slots: npt.NDArray[np.complex128]) -> npt.NDArray[np.float64]:
    """(N,) coefficients of the polynomial with these (N / 2,) slots."""
    values = np.zeros(2 * GRAM.degree, dtype=np.complex128)
    values[_roots()], values[-_roots()] = slots, np.conj(slots)
    return fft(values).real[: GRAM.degree] / GRAM.degree


def pack_upper(words: npt.NDArray[np.uint64]) -> bytes:
    """(N,) residues without their three lower bytes, which stay far below the noise."""
    return np.ascontiguousarray(words, "<u8").view(np.uint8).reshape(-1, _WORD)[:, _WORD - _UPPER :].tobytes()


def unpack_upper(payload: bytes) -> npt.NDArray[np.uint64]:
    """``pack_upper`` undone, up to its rounding; values may exceed the modulus, and the reader refuses those."""
    words = np.zeros((GRAM.degree, _WORD), dtype=np.uint8)
    words[:, _WORD - _UPPER :] = np.frombuffer(payload, np.uint8).reshape(GRAM.degree, _UPPER)
    return words.view("<u8")[:, 0]


def _roots() -> npt.NDArray[np.int64]:
    """Slot i is the value at the 2N-th root of unity with exponent 3^i, in the library's order."""
    exponents, found = 1, []
    for _ in range(GRAM.slots):
        found.append(exponents)
        exponents = 3 * exponents % (2 * GRAM.degree)
    return np.array(found)
