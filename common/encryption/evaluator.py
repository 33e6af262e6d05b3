"""A silo's gallery times an encrypted query.

A gallery is prepared once: weighted, cut into diagonals, encoded. What ``evaluate`` returns is an ``Evaluation``,
which can be sanitised and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from common.encryption import quadratic
from common.encryption.diagonals import PreparedMatrix, Turned
from common.encryption.gallery_rows import GalleryRows
from common.encryption.layout import Layout
from common.encryption.scaled_noise import scaled_noise
from common.encryption.scheme import Ciphertext, PublicKeys, Scheme
from common.errors import EncryptionError


@dataclass(frozen=True)
class PreparedGallery:
    """What ``prepare`` made; ``content`` has a matrix a block for the linear kernel."""

    layout: Layout
    content: tuple[PreparedMatrix, ...] | quadratic.Prepared


@dataclass(frozen=True)
class AdmittedQuery:
    """A query whose imaginary parts are closed: twice the real embedding in its slots."""

    ciphertext: Ciphertext


class Evaluation:
    """Encrypted scores that nobody may see as bytes yet; ``sanitise`` takes them from here.

    It has no serialisation, cannot be pickled or copied, and shows nothing of itself.
    """

    __slots__ = ("_blocks", "_moved", "layout")

    def __init__(self, layout: Layout, blocks: list[Ciphertext | None], moved: float) -> None:
        self.layout = layout
        self._blocks = blocks
        self._moved = moved

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise EncryptionError("an evaluation leaves only through sanitise", remedy="sanitise it")

    def __repr__(self) -> str:
        return f"<Evaluation of {len(self._blocks)} blocks>"


def admit(scheme: Scheme, payload: bytes, keys: PublicKeys) -> AdmittedQuery:
    """A query's payload, checked and with its imaginary parts closed.

    Raises:
        EncryptionError: not a ciphertext of the agreed parameters.
    """
    return AdmittedQuery(scheme.admit(payload, keys))


def prepare(scheme: Scheme, layout: Layout, gallery: GalleryRows | npt.NDArray[np.float64]) -> PreparedGallery:
    """Encode a gallery for ``evaluate``. It belongs to no key; 131 kB a diagonal that is not zero (linear).

    Args:
        gallery: an array stands for linear rows (S, d), weights included.

    Raises:
        EncryptionError: the rows do not fit the layout.
    """
    rows = gallery if isinstance(gallery, GalleryRows) else GalleryRows(gallery)
    if layout.kernel == "quadratic":
        return PreparedGallery(layout, quadratic.prepare(scheme, layout, rows))
    if rows.coefficients is not None or rows.matrix.shape != (layout.rows, layout.dimension):
        raise EncryptionError(
            f"gallery rows of shape {rows.matrix.shape} in a layout of {layout.rows} x {layout.dimension}",
            remedy="prepare the gallery for the agreed layout",
        )
    level = layout.parameters.level
    scale = layout.parameters.product_scale(level)
    # Half, because an admitted query holds twice the embedding.
    matrices = (0.5 * layout.matrices(rows.matrix, block) for block in range(layout.blocks))
    content = (layout.product.prepare(scheme, block, level=level, scale=scale) for block in matrices)
    return PreparedGallery(layout, tuple(content))


def evaluate(
    scheme: Scheme, gallery: PreparedGallery, query: AdmittedQuery, keys: PublicKeys, *, moved: float = 0.0
) -> Evaluation:
    """The scores of every row of the gallery, encrypted, at the last level.

    Args:
        moved: deviation of the random vectors that every row is moved by first, as ``Noise.moved`` of the noise
            that the evaluation is to be sanitised with.
    """
    layout = gallery.layout
    turned = Turned(scheme, query.ciphertext, layout.lanes, keys)
    if isinstance(gallery.content, quadratic.Prepared):
        blocks = quadratic.evaluate(scheme, layout, gallery.content, turned, keys, moved=moved)
        return Evaluation(layout, blocks, moved)
    blocks = [layout.product.multiply(scheme, [(block, turned)], keys) for block in gallery.content]
    if moved:
        noise = scaled_noise(scheme, layout, turned, keys, deviation=moved, count=layout.blocks)
        for block, blur in zip(blocks, noise, strict=True):
            if block is not None:
                scheme.add(blur, block)
        blocks = [*noise]
    return Evaluation(layout, blocks, moved)
