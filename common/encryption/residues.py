"""Polynomials as bytes: residues in the fewest whole bytes, little-endian, one prime after the other.

This is all that a peer's payload holds. Sizes, levels, scales and parameter ids are never read from it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from common.encryption.refusal import refused

SEED_BYTES = 64


def width(modulus: int) -> int:
    """Bytes a residue."""
    return ((modulus - 1).bit_length() + 7) // 8


def size(moduli: Sequence[int], degree: int) -> int:
    """Bytes of one polynomial."""
    return sum(width(modulus) for modulus in moduli) * degree


def pack(polynomial: npt.NDArray[np.uint64], moduli: Sequence[int]) -> bytes:
    """(L, N) residues to ``size(moduli, N)`` bytes."""
    rows = np.ascontiguousarray(polynomial, dtype="<u8").view(np.uint8).reshape(len(moduli), -1, 8)
    return b"".join(row[:, : width(modulus)].tobytes() for row, modulus in zip(rows, moduli, strict=True))


def unpack(payload: bytes, moduli: Sequence[int], degree: int) -> npt.NDArray[np.uint64]:
    """``pack`` undone: (L, N).

    Raises:
        EncryptionError: the length is not exact, or a residue is not below its prime.
    """
    if len(payload) != size(moduli, degree):
        raise refused()
    polynomial = np.zeros((len(moduli), degree), dtype="<u8")
    start = 0
    for row, modulus in zip(polynomial, moduli, strict=True):
        count = width(modulus)
        part = np.frombuffer(payload, np.uint8, count * degree, start).reshape(degree, count)
        row.view(np.uint8).reshape(degree, 8)[:, :count] = part
        if np.any(row >= modulus):
            raise refused()
        start += count * degree
    return polynomial
