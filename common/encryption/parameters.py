"""The CKKS parameters that both sides agree on, primes included.

Security: 128 bits for a ternary secret at these sizes (HomomorphicEncryption.org standard, table 1; at degree
8192 the modulus may have at most 218 bits). The scheme is Cheon, Kim, Kim and Song, Asiacrypt 2017, in its
residue form.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Parameters:
    """One choice of ring, moduli and scale.

    Attributes:
        degree: N, the ring degree; a ciphertext has N / 2 complex slots.
        bits: sizes of the primes: data primes first, the key-switching prime last.
        moduli: the primes themselves, in the same order. The first is the modulus of an answer.
        scale_bits: log2 of the scale at which slots are encoded.
    """

    degree: int
    bits: tuple[int, ...]
    moduli: tuple[int, ...]
    scale_bits: int

    @property
    def slots(self) -> int:
        """M = N / 2."""
        return self.degree // 2

    @property
    def scale(self) -> float:
        """The scale of a query and of an answer."""
        return 2.0**self.scale_bits

    @property
    def data_moduli(self) -> tuple[int, ...]:
        """The primes of a fresh ciphertext; key switching uses one more."""
        return self.moduli[:-1]

    @property
    def level(self) -> int:
        """Primes of a fresh ciphertext; each multiplication spends one, and an answer has one left."""
        return len(self.data_moduli)

    @property
    def squares(self) -> bool:
        """Whether ciphertexts are multiplied with each other, which takes a key of its own."""
        return self.level > 2

    def product_scale(self, level: int) -> float:
        """The scale of a plaintext at ``level`` that a product and its rescaling leave as the ciphertext's was."""
        return float(self.moduli[level - 1])

    @property
    def answer_range(self) -> float:
        """Scores beyond plus or minus this wrap around."""
        return self.answer_modulus / self.scale / 2

    @property
    def answer_modulus(self) -> int:
        """q0, the one prime that is left at the last level."""
        return self.moduli[0]

    @property
    def digest(self) -> bytes:
        """(32 bytes) what two sides compare to know that they use the same parameters."""
        text = f"phenofed ckks 1|{self.degree}|{self.bits}|{self.moduli}|{self.scale_bits}"
        return hashlib.sha256(text.encode()).digest()


LINEAR = Parameters(
    degree=8192,
    bits=(52, 40, 60),
    moduli=(4503599627124737, 1099511480321, 1152921504606830593),
    scale_bits=40,
)
"""Depth 1: one multiplication by a gallery, one rescaling. Noise that scales with the query needs no more.

The first prime is well below the last: SEAL cuts ciphertexts into digits that are not centred, and the error of a
rotation, which gathers in the first slots, is as large as the ratio of the two.
"""

QUADRATIC = Parameters(
    degree=8192,
    bits=(46, 40, 40, 40, 52),
    moduli=(70368743669761, 1099510824961, 1099510890497, 1099511480321, 4503599627124737),
    scale_bits=40,
)
"""Depth 3: a multiplication by a gallery, a square, a multiplication by the weights. All 218 bits are used."""
