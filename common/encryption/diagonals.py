"""A matrix in each lane times the vector in it, out of rotations and plaintexts.

The M slots are a ring of D positions times M / D lanes, slot = position * lanes + lane, so that a rotation by
``lanes`` slots turns every lane by one position. In each lane lies a vector of period C, and the product with an
R x C matrix comes to lie there with period R: the hybrid diagonal method (Halevi and Shoup, Crypto 2014; Juvekar
et al., Usenix Security 2018) with baby and giant steps. Where R < C the C / R copies of the result take R of the C
diagonals each, and a rotate-and-sum over them ends it. They form a whole cycle, so that every slot ends as a
complete product and no slot holds a partial one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from common.encryption.scheme import Ciphertext, Plaintext, PublicKeys, Scheme

PreparedMatrix = tuple[tuple[Plaintext | None, ...], ...]
"""``[giant][baby]``, None where a diagonal is zero."""


@dataclass(frozen=True)
class Diagonals:
    """The sizes of a product: D, lanes, R and C, powers of two, and the baby steps wanted."""

    ring: int
    lanes: int
    rows: int
    columns: int
    wanted_babies: int

    @property
    def steps(self) -> int:
        """Plaintext products."""
        return min(self.rows, self.columns)

    @property
    def babies(self) -> int:
        """b, baby steps."""
        return min(self.wanted_babies, self.steps)

    @property
    def copy_steps(self) -> tuple[int, ...]:
        """Positions to turn by in the rotate-and-sum over the copies."""
        return doublings(self.steps, self.columns)

    @cached_property
    def rotations(self) -> frozenset[int]:
        """Every rotation that the product uses, in slots."""
        steps = (*range(1, self.babies), *range(self.babies, self.steps, self.babies), *self.copy_steps)
        return frozenset(self.lanes * step for step in steps)

    def slots(self, matrices: npt.NDArray[np.float64]) -> Iterator[npt.NDArray[np.float64]]:
        """The plaintexts, (M,) each, turned back by their giant steps.

        Args:
            matrices: (k, R, C) for the first k lanes, the next k lanes and so on; k divides the lanes.
        """
        position = np.arange(self.ring)
        for step in range(self.steps):
            values = matrices[:, position % self.rows, (position + step) % self.columns].T
            plain = np.tile(values, (1, self.lanes // len(matrices))).reshape(-1)
            yield np.roll(plain, step // self.babies * self.babies * self.lanes)

    def prepare(
        self, scheme: Scheme, matrices: npt.NDArray[np.float64], *, level: int, scale: float
    ) -> PreparedMatrix:
        """Encode matrices (k, R, C) for ciphertexts at ``level``; takes 65 kB a level and diagonal that is not
        zero."""
        encoded = [scheme.encode(plain, level=level, scale=scale) for plain in self.slots(matrices)]
        return tuple(tuple(encoded[giant : giant + self.babies]) for giant in range(0, self.steps, self.babies))

    def multiply(
        self, scheme: Scheme, parts: Sequence[tuple[PreparedMatrix, Turned]], keys: PublicKeys
    ) -> Ciphertext | None:
        """The sum over all parts of matrix times vector, one level down; None if every matrix is zero."""
        total = None
        for giant in range(self.steps // self.babies):
            pairs = [
                (turned, baby, plaintext)
                for prepared, turned in parts
                for baby, plaintext in enumerate(prepared[giant])
                if plaintext is not None
            ]
            part = scheme.inner_product(
                [turned(baby) for turned, baby, _ in pairs], [plain for *_, plain in pairs]
            )
            if part is not None and giant:
                part = scheme.rotate(part, giant * self.babies * self.lanes, keys)
            if total is None:
                total = part
            elif part is not None:
                scheme.add(total, part)
        if total is not None:
            scheme.rescale(total)
            sum_turned(scheme, total, [step * self.lanes for step in self.copy_steps], keys)
        return total


class Turned:
    """A ciphertext turned by baby steps, each made at its first use."""

    def __init__(self, scheme: Scheme, ciphertext: Ciphertext, lanes: int, keys: PublicKeys) -> None:
        self._scheme, self._lanes, self._keys = scheme, lanes, keys
        self._found = {0: ciphertext}

    def __call__(self, step: int) -> Ciphertext:
        """The ciphertext turned by ``step`` positions."""
        if step not in self._found:
            self._found[step] = self._scheme.rotate(self._found[0], step * self._lanes, self._keys)
        return self._found[step]


def sum_turned(scheme: Scheme, ciphertext: Ciphertext, rotations: Sequence[int], keys: PublicKeys) -> None:
    """Add to a ciphertext itself turned, in place, once for each rotation in slots."""
    for rotation in rotations:
        scheme.add(ciphertext, scheme.rotate(ciphertext, rotation, keys))


def doublings(first: int, end: int) -> tuple[int, ...]:
    """first, 2 first, 4 first, ... below ``end``."""
    steps = []
    while first < end:
        steps.append(first)
        first *= 2
    return tuple(steps)
