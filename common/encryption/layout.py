"""Where queries and scores lie in the slots, and which rotations the evaluation needs.

The slots are D positions (D = d rounded up to a power of two) times M / D lanes, as ``diagonals`` says. A
ciphertext of B queries gives each of them ``lanes / B`` lanes, its *shares*: the query is repeated in each, and
each share is compared with other rows. With B = 1 that is the layout of a single query, with B = 8 the batch. Rows
are dealt to the shares in turn, so that neighbours in the registry, often alike in size, weigh on no single share.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Self, cast

import numpy as np
import numpy.typing as npt

from common.encryption.diagonals import Diagonals, doublings
from common.encryption.parameters import LINEAR, QUADRATIC, Parameters
from common.errors import EncryptionError

Kernel = Literal["linear", "quadratic"]
Slots = npt.NDArray[np.float64]

MAX_ROWS = 1 << 16
BABIES, COMPARED = 8, 128
"""Quadratic: few keys, since each is large at its depth, and the same ones however many patients a silo has."""

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
        """R, rows a share, a power of two."""
        return _power_of_two(-(-self.block_rows // self.shares))

    @cached_property
    def product(self) -> Diagonals:
        """Linear: each block's rows times the query. Baby steps are as many as give the fewest rotations."""
        rows = self.share_rows
        choices = doublings(1, 2 * rows)
        babies = min(choices, key=lambda b: (b - 1) + self.blocks * (rows // b - 1))
        return Diagonals(self.ring, self.lanes, rows, self.ring, babies)

    def comparison(self, rows: int) -> Diagonals:
        """Quadratic: ``rows`` patients a share times the query."""
        return Diagonals(self.ring, self.lanes, rows, self.ring, BABIES)

    def weighting(self, rows: int) -> Diagonals:
        """Quadratic: a block's weights times ``rows`` squares a share."""
        return Diagonals(self.ring, self.lanes, self.share_rows, rows, BABIES)

    @property
    def most_compared(self) -> int:
        """Quadratic: patients a share in one comparison; more take several."""
        return min(self.ring, COMPARED)

    @cached_property
    def rotations(self) -> tuple[int, ...]:
        """Every rotation that an evaluation and its noise use, in slots, ascending."""
        used = self.product if self.kernel == "linear" else self.comparison(self.most_compared)
        return tuple(sorted(used.rotations | {self.lanes * step for step in doublings(1, self.ring)}))

    @cached_property
    def digest(self) -> bytes:
        """(32 bytes) what two sides compare to know that they mean the same layout."""
        text = f"phenofed layout 2|{self.kernel}|{self.dimension}|{self.rows}|{self.queries}|"
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
        data = data if isinstance(data, dict) else {}
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

    def matrices(self, rows: npt.NDArray[np.float64], block: int) -> npt.NDArray[np.float64]:
        """(shares, R, D): what each share of a block compares its query with, out of all rows (S, d)."""
        part = rows[block * self.block_rows : (block + 1) * self.block_rows]
        padded = np.zeros((self.share_rows * self.shares, self.ring))
        padded[: len(part), : self.dimension] = part
        return padded.reshape(self.share_rows, self.shares, self.ring).transpose(1, 0, 2)

    def place(self, row: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], ...]:
        """(block, share, place in the share), an array each, of these rows."""
        inside = row % self.block_rows
        return row // self.block_rows, inside % self.shares, inside // self.shares

    def spread(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """(S,) one value a row to (blocks, M): in every slot that holds the row's score, and 0 elsewhere."""
        inside = np.zeros((self.blocks, self.share_rows * self.shares))
        for block, part in enumerate(inside):
            held = values[block * self.block_rows : (block + 1) * self.block_rows]
            part[: len(held)] = held
        once = inside.reshape(self.blocks, self.share_rows, 1, self.shares)
        return np.tile(once, (1, self.ring // self.share_rows, self.queries, 1)).reshape(self.blocks, -1)

    @cached_property
    def shown(self) -> npt.NDArray[np.bool_]:
        """(blocks, M) the slots that ``unpack`` reads: one for each score, none of its other copies."""
        first = np.zeros((self.blocks, self.ring, self.queries * self.shares), dtype=bool)
        first[:, : self.share_rows] = True
        return first.reshape(self.blocks, -1) & (self.spread(np.ones(self.rows)) > 0)

    def unpack(self, blocks: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """(blocks, M) slots of the answers to (queries, S) scores."""
        first = blocks.reshape(self.blocks, self.ring, self.queries, self.shares)[:, : self.share_rows]
        scores = first.transpose(2, 0, 1, 3).reshape(self.queries, self.blocks, -1)
        return scores[:, :, : self.block_rows].reshape(self.queries, -1)[:, : self.rows]


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()
