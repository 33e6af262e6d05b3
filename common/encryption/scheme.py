"""The seam between the protocol and a homomorphic library.

The seam is narrow on purpose. Foreign bytes become a ciphertext only through ``admit``, which closes the
imaginary parts; a ciphertext becomes bytes only through ``release``, which blinds and masks it. No operation
saves a ciphertext as it is, so code above the seam cannot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from common.encryption.parameters import Parameters

Ciphertext: TypeAlias = Any
Plaintext: TypeAlias = Any
SecretKeys: TypeAlias = Any
PublicKeys: TypeAlias = Any
Residues: TypeAlias = npt.NDArray[np.uint64]


class Scheme(Protocol):
    """CKKS with the parameters ``parameters``. Slots are (M,) arrays, residues (N,) uint64 below q0."""

    parameters: Parameters

    def make_keys(self, rotations: Sequence[int]) -> tuple[SecretKeys, bytes]:
        """Fresh keys: the secret ones stay here, the bytes (public, rotation, conjugation keys) go to the
        silos."""

    def save_secret(self, secret: SecretKeys, cover: Callable[[bytes], bytes]) -> bytes:
        """What ``cover``, which must encrypt, makes of the secret key."""

    def load_secret(self, content: bytes) -> SecretKeys:
        """The secret keys out of what ``save_secret`` covered, authenticated by the caller."""

    def load_keys(self, payload: bytes, rotations: Sequence[int]) -> PublicKeys:
        """The public keys out of ``make_keys``' bytes, for the same rotations."""

    def encrypt(self, slots: npt.NDArray[np.float64], secret: SecretKeys) -> bytes:
        """A fresh query of ``query_bytes`` bytes."""

    def decrypt_sum(self, answers: Sequence[bytes], secret: SecretKeys) -> npt.NDArray[np.complex128]:
        """(M,) slots of the sum of one answer block from each silo of a panel."""

    def admit(self, payload: bytes, keys: PublicKeys) -> Ciphertext:
        """The query plus its conjugate: twice the real parts, and no imaginary ones."""

    def encode(self, slots: npt.NDArray[np.generic], *, level: int, scale: float) -> Plaintext | None:
        """A plaintext, real or complex, to multiply with at ``level``; None where it is zero, which a library may
        refuse as transparent."""

    def rotate(self, ciphertext: Ciphertext, step: int, keys: PublicKeys) -> Ciphertext:
        """A ciphertext whose slot x is slot x + step of the given one."""

    def inner_product(
        self, ciphertexts: Sequence[Ciphertext], plaintexts: Sequence[Plaintext | None]
    ) -> Ciphertext | None:
        """Sum over i of ciphertexts[i] * plaintexts[i], None left out; None if nothing is left."""

    def add(self, first: Ciphertext, second: Ciphertext) -> None:
        """Add ``second`` to ``first`` in place."""

    def add_plain(self, ciphertext: Ciphertext, slots: npt.NDArray[np.float64]) -> None:
        """Add clear slots (M,) in place."""

    def multiply(self, first: Ciphertext, second: Ciphertext, keys: PublicKeys) -> Ciphertext:
        """The product of two ciphertexts at one level, one level down."""

    def rescale(self, ciphertext: Ciphertext) -> None:
        """Divide by the level's last prime, in place: one level down."""

    def release(
        self,
        ciphertext: Ciphertext | None,
        keys: PublicKeys,
        *,
        noise: npt.NDArray[np.complex128],
        mask: Residues,
    ) -> bytes:
        """Last level only: add noise (M,) to the slots, a fresh Enc(0), the mask to all of c0, and give the bytes.

        None stands for a silo that holds no row of the block: Enc(0), noise and mask alone.
        """
