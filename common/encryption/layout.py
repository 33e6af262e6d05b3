"""Where queries and scores lie in the slots, and which rotations the evaluation needs.

The M slots are a ring of D positions (D = d rounded up to a power of two) times M / D lanes, slot = position *
lanes + lane, so that a rotation by ``lanes`` slots turns every lane by one position. A ciphertext of B queries
gives each of them ``lanes / B`` lanes, its *shares*: the query is repeated in each, and each share is compared
with other rows. With B = 1 that is the layout of a single query, with B = 8 the batch.

Inside a lane the product is the hybrid diagonal method (Halevi and Shoup, Crypto 2014; Juvekar et al., Usenix
Security 2018) with baby and giant steps: a share of R rows holds them D / R times, each copy takes R of the D
diagonals, and a rotate-and-sum over the copies ends it. The copies form a whole cycle of the ring, so every slot
ends as a complete score and no slot holds a partial one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Self, cast

import numpy as np
import numpy.typing as npt

from common.encryption.parameters import LINEAR, QUADRATIC, Parameters
from common.errors import EncryptionError

Kernel = Literal["linear", "quadratic"]
Slots = npt.NDArray[np.float64]

MAX_ROWS = 1 << 16
PARAMETERS: dict[Kernel, Parameters] = {"linear": LINEAR, "quadratic": QUADRATIC}


@dataclass(frozen=True)
class Layout:
    """How ``queries`` embeddings of length ``dimension`` meet a gallery of ``rows`` scores.

    Raises:
        EncryptionError: sizes that no ciphertext of these parameters holds.
    """

    dimension: int
    rows: int
    queries: int = 8
    kernel: Kernel = "linear"

    def __post_init__(self) -> None:
        if self.kernel not in PARAMETERS:
            raise EncryptionError(f"no kernel '{self.kernel}'", remedy=f"use one of {', '.join(PARAMETERS)}")
        if not 1 <= self.dimension <= self.parameters.slots // 2:
            raise EncryptionError(
                f"an embedding of length {self.dimension} does not fit {self.parameters.slots} slots",
                remedy=f"use 1 to {self.parameters.slots // 2}",
            )
        if not 1 <= self.rows <= MAX_ROWS:
            raise EncryptionError(f"a gallery of {self.rows} rows", remedy=f"use 1 to {MAX_ROWS} rows")
        if self.queries not in [1 << power for power in range(self.lanes.bit_length())]:
            raise EncryptionError(
                f"{self.queries} queries of length {self.dimension} do not share a ciphertext",
                remedy=f"use a power of two up to {self.lanes}",
            )

    @property
    def parameters(self) -> Parameters:
        """Those that the kernel's depth needs."""
        return PARAMETERS[self.kernel]

    @property
    def ring(self) -> int:
        """D, positions a lane."""
        return _power_of_two(self.dimension)

    @property
    def lanes(self) -> int:
        """Interleaved lanes, M / D."""
        return self.parameters.slots // self.ring

    @property
    def shares(self) -> int:
        """Lanes a query."""
        return self.lanes // self.queries

    @property
    def blocks(self) -> int:
        """Answer ciphertexts a query ciphertext."""
        return -(-self.rows // (self.shares * self.ring))

    @property
    def block_rows(self) -> int:
        """Gallery rows a block; the last one may hold fewer."""
        return -(-self.rows // self.blocks)

    @property
    def share_rows(self) -> int:
        """R, rows a share, a power of two; also the plaintext products a block."""
        return _power_of_two(-(-self.block_rows // self.shares))

    @property
    def babies(self) -> int:
        """b, baby steps: the power of two that needs the fewest rotations over all blocks."""
        choices = [1 << power for power in range(self.share_rows.bit_length())]
        return min(choices, key=lambda b: (b - 1) + self.blocks * (self.share_rows // b - 1))

    @property
    def copy_steps(self) -> tuple[int, ...]:
        """Positions to turn by in the rotate-and-sum over the copies."""
        steps, step = [], self.share_rows
        while step < self.ring:
            steps.append(step)
            step *= 2
        return tuple(steps)

    @cached_property
    def rotations(self) -> tuple[int, ...]:
        """Every rotation that an evaluation uses, in slots, ascending."""
        giants = range(self.babies, self.share_rows, self.babies)
        return tuple(sorted({self.lanes * step for step in (*range(1, self.babies), *giants, *self.copy_steps)}))

    @cached_property
    def digest(self) -> bytes:
        """(32 bytes) what two sides compare to know that they mean the same layout."""
        text = f"phenofed layout 1|{self.kernel}|{self.dimension}|{self.rows}|{self.queries}|"
        return hashlib.sha256(text.encode() + self.parameters.digest).digest()

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``from_json``."""
        sizes = {"dimension": self.dimension, "rows": self.rows, "queries": self.queries}
        return {**sizes, "kernel": self.kernel}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The layout that ``to_json`` described; ``data`` may come from a peer.

        Raises:
            EncryptionError: not such a description.
        """
        sizes = [data.get(name) for name in ("dimension", "rows", "queries")]
        kernel = data.get("kernel")
        if not all(type(size) is int for size in sizes) or type(kernel) is not str:
            raise EncryptionError("this is no layout", remedy="check that both sides run the same release")
        dimension, rows, queries = cast("list[int]", sizes)
        return cls(dimension, rows, queries, cast("Kernel", kernel))

    def pack(self, queries: npt.NDArray[np.float64]) -> Slots:
        """(n, d) queries, n at most ``queries``, to (M,) slots; lanes without a query stay zero.

        Raises:
            EncryptionError: too many queries, or of another length.
        """
        if queries.ndim != 2 or not 1 <= len(queries) <= self.queries or queries.shape[1] != self.dimension:
            raise EncryptionError(
                f"queries of shape {queries.shape} in a layout of {self.queries} of length {self.dimension}",
                remedy="send as many as the layout holds",
            )
        ring = np.zeros((self.ring, self.queries, self.shares))
        ring[: self.dimension, : len(queries)] = queries.T[:, :, None]
        return ring.reshape(-1)

    def diagonals(self, rows: npt.NDArray[np.float64], block: int) -> npt.NDArray[np.float64]:
        """(R, M): the R plaintexts of one block, each turned back by its giant step.

        Args:
            rows: (S, d), the whole gallery, weights included.
        """
        share_rows, ring = self.share_rows, self.ring
        padded = np.zeros((self.shares * share_rows, ring))
        part = rows[block * self.block_rows : (block + 1) * self.block_rows]
        padded[: len(part), : self.dimension] = part
        by_share = padded.reshape(self.shares, share_rows, ring)
        position = np.arange(ring)
        plain = np.empty((share_rows, self.parameters.slots))
        for step in range(share_rows):
            values = by_share[:, position % share_rows, (position + step) % ring].T
            lanes = np.broadcast_to(values[:, None, :], (ring, self.queries, self.shares)).reshape(-1)
            plain[step] = np.roll(lanes, step // self.babies * self.babies * self.lanes)
        return plain

    def unpack(self, blocks: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """(blocks, M) slots of the answers to (queries, S) scores."""
        first = blocks.reshape(self.blocks, self.ring, self.queries, self.shares)[:, : self.share_rows]
        scores = first.transpose(2, 0, 3, 1).reshape(self.queries, self.blocks, -1)
        return scores[:, :, : self.block_rows].reshape(self.queries, -1)[:, : self.rows]


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()
