"""Class-weighted sums of squared cosines: the quadratic kernel, evaluated.

With h = a1 / (2 a2) the formula of ``common.ranking.kernel`` is

    sum_i w_i (a0 + a1 x_i + a2 x_i^2)  =  sum_i w_i a2 (x_i + h)^2  +  (a0 - a2 h^2) sum_i w_i,    x_i = <q, c_i>

so three multiplications do it: patients' rows times the query, a square, and weights times squares, which leaves
one number a syndrome. A patient's row lies in the share of its syndrome, anywhere in it; the matrix of weights is
what brings patients together, so a syndrome may have any number of them.

What shows: nothing in the size of an answer. Its time grows with the rows of the fullest share, rounded up to a
power of two up to ``Layout.most_compared``, and to multiples of that beyond.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from common.encryption.diagonals import PreparedMatrix, Turned
from common.encryption.gallery_rows import GalleryRows
from common.encryption.layout import Layout
from common.encryption.scaled_noise import scaled_noise
from common.encryption.scheme import Ciphertext, PublicKeys, Scheme
from common.errors import EncryptionError

STEEPEST = 64.0
"""The largest |a1 / a2|; beyond, the square is lost in the precision of what is added to it."""


@dataclass(frozen=True)
class Prepared:
    """A silo's patients and weights, encoded.

    Attributes:
        compared: rows a share in each comparison.
        comparisons: a matrix for each.
        weights: ``[block][comparison]``.
        shift: h.
        constants: (blocks, M) what to add to the slots of each block.
    """

    compared: int
    comparisons: tuple[PreparedMatrix, ...]
    weights: tuple[tuple[PreparedMatrix, ...], ...]
    shift: float
    constants: npt.NDArray[np.float64]


def prepare(scheme: Scheme, layout: Layout, gallery: GalleryRows) -> Prepared:
    """Place and encode rows, weights and constants; about 0.4 MB a row of the fullest share.

    Raises:
        EncryptionError: rows of another length or for other syndromes, or coefficients without a square.
    """
    matrix, syndromes, weights, coefficients = (
        gallery.matrix,
        gallery.syndromes,
        gallery.weights,
        gallery.coefficients,
    )
    if syndromes is None or weights is None or coefficients is None or matrix.shape[1] != layout.dimension:
        raise EncryptionError(
            f"gallery rows of shape {matrix.shape} in a quadratic layout of length {layout.dimension}",
            remedy="give unit rows with syndromes, weights and coefficients",
        )
    if np.any(syndromes >= layout.rows):
        raise EncryptionError(
            "a row of a syndrome that the layout does not have", remedy="use the agreed registry"
        )
    a0, a1, a2 = coefficients
    if abs(a1) > STEEPEST * abs(a2):
        raise EncryptionError("the quadratic kernel has next to no square", remedy="use the linear kernel")
    parameters, shift = layout.parameters, a1 / (2 * a2)
    block, share, place = layout.place(syndromes)
    number = _number_within(share)
    fullest = int(number.max(initial=0)) + 1
    compared = min(layout.most_compared, 1 << (fullest - 1).bit_length())
    comparison, position = number // compared, number % compared
    rows = np.zeros((-(-fullest // compared), layout.shares, compared, layout.ring))
    # Half, because an admitted query holds twice the embedding.
    rows[comparison, share, position, : layout.dimension] = 0.5 * matrix
    sums = np.zeros((layout.blocks, len(rows), layout.shares, layout.share_rows, compared))
    np.add.at(sums, (block, comparison, share, place, position), a2 * weights)
    top, scale = parameters.level, parameters.scale
    squared = scale**2 / parameters.product_scale(top - 1)
    weighing = parameters.product_scale(top - 2) * (scale / squared)
    total = np.bincount(syndromes, weights, minlength=layout.rows)
    first, second = layout.comparison(compared), layout.weighting(compared)
    return Prepared(
        compared,
        tuple(first.prepare(scheme, part, level=top, scale=parameters.product_scale(top)) for part in rows),
        tuple(
            tuple(second.prepare(scheme, part, level=top - 2, scale=weighing) for part in parts) for parts in sums
        ),
        shift,
        layout.spread(np.asarray((a0 - a2 * shift**2) * total, dtype=np.float64)),
    )


def evaluate(
    scheme: Scheme, layout: Layout, gallery: Prepared, query: Turned, keys: PublicKeys, *, moved: float
) -> list[Ciphertext | None]:
    """The blocks of scores, at the last level; None for a silo without any row.

    Args:
        moved: deviation of each patient's product with the query, by ``scaled_noise``.
    """
    noise: list[Ciphertext] = []
    if moved:
        count = len(gallery.comparisons)
        noise = scaled_noise(scheme, layout, query, keys, deviation=moved, count=count)
    first, second = layout.comparison(gallery.compared), layout.weighting(gallery.compared)
    shift = np.full(layout.parameters.slots, gallery.shift)
    squares: dict[int, Turned] = {}
    for number, comparison in enumerate(gallery.comparisons):
        cosines = first.multiply(scheme, [(comparison, query)], keys)
        if cosines is not None:
            if moved:
                scheme.add(cosines, noise[number])
            scheme.add_plain(cosines, shift)
            square = scheme.multiply(cosines, cosines, keys)
            squares[number] = Turned(scheme, square, layout.lanes, keys)
    blocks = []
    for weights, constants in zip(gallery.weights, gallery.constants, strict=True):
        parts = [(weights[number], square) for number, square in squares.items()]
        block = second.multiply(scheme, parts, keys)
        if block is not None:
            scheme.add_plain(block, constants)
        blocks.append(block)
    return blocks


def _number_within(share: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(n,) how many rows of the same share come before each."""
    order = np.argsort(share, kind="stable")
    number = np.empty(len(share), dtype=np.int64)
    ordered = share[order]
    number[order] = np.arange(len(share)) - np.searchsorted(ordered, ordered)
    return number
