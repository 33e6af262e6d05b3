"""Residues times integers by floating-point matrix products, exact to the last bit.

BLAS multiplies float64 far faster than anything that numpy has for integers. A residue is cut into limbs so small
that every sum stays below 2^53, where float64 holds integers exactly; the limbs' products meet again modulo the
prime. A linear combination of ciphertexts is such a product, of its residues.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from common.errors import EncryptionError

_LIMB = 20
_BLOCK = 32
_EXACT = 2.0**53


class Limbs:
    """(d, c) residues below a prime of at most 60 bits, cut for products with many integer rows."""

    def __init__(self, values: npt.NDArray[np.uint64], modulus: int) -> None:
        self._modulus = modulus
        mask = np.uint64((1 << _LIMB) - 1)
        shifts = range(0, modulus.bit_length(), _LIMB)
        self._parts = [((values >> np.uint64(shift)) & mask).astype(np.float64) for shift in shifts]

    def product(self, weights: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
        """(m, c): ``weights`` (m, d) times the residues, modulo the prime.

        Raises:
            EncryptionError: the weights are so large that a sum may be inexact.
        """
        if np.abs(weights).sum(axis=1, dtype=np.float64).max(initial=0) * 2.0**_LIMB >= _EXACT:
            raise EncryptionError("weights too large for an exact product", remedy="use rows of unit norm")
        found = np.empty((len(weights), self._parts[0].shape[1]), dtype=np.uint64)
        for start in range(0, len(weights), _BLOCK):
            part = weights[start : start + _BLOCK].astype(np.float64)
            total = self._reduced((part @ self._parts[-1]).astype(np.int64))
            for limb in self._parts[-2::-1]:
                total = self._reduced(self._shifted(total) + (part @ limb).astype(np.int64))
            found[start : start + _BLOCK] = total.view(np.uint64)
        return found

    def _shifted(self, values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Values times 2^20, up to one prime too small or too large; the words wrap, the difference does not."""
        quotient = (values * (2.0**_LIMB / self._modulus)).astype(np.int64)
        return (values << _LIMB) - quotient * self._modulus

    def _reduced(self, values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """From between minus one and two primes to below the prime."""
        values += (values < 0) * self._modulus
        values -= (values >= self._modulus) * self._modulus
        return values
