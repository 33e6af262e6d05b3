"""A silo's gallery times an encrypted query.

A gallery is prepared once: weighted, cut into diagonals, encoded. What ``evaluate`` returns is an ``Evaluation``,
which can be sanitised and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from common.encryption.layout import Layout
from common.encryption.scheme import Ciphertext, Plaintext, PublicKeys, Scheme
from common.errors import EncryptionError


@dataclass(frozen=True)
class PreparedGallery:
    """``plaintexts[block][giant][baby]``, None where a diagonal is zero."""

    layout: Layout
    plaintexts: tuple[tuple[tuple[Plaintext | None, ...], ...], ...]


@dataclass(frozen=True)
class AdmittedQuery:
    """A query whose imaginary parts are closed: twice the real embedding in its slots."""

    ciphertext: Ciphertext


class Evaluation:
    """Encrypted scores that nobody may see as bytes yet; ``sanitise`` takes them from here.

    It has no serialisation, cannot be pickled or copied, and shows nothing of itself.
    """

    __slots__ = ("_blocks", "layout")

    def __init__(self, layout: Layout, blocks: list[Ciphertext | None]) -> None:
        self.layout = layout
        self._blocks = blocks

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


def prepare(scheme: Scheme, layout: Layout, rows: npt.NDArray[np.float64]) -> PreparedGallery:
    """Encode (S, d) weighted rows for ``evaluate``; takes about 131 kB a nonzero diagonal.

    Raises:
        EncryptionError: the rows do not fit the layout.
    """
    if rows.shape != (layout.rows, layout.dimension):
        raise EncryptionError(
            f"gallery rows of shape {rows.shape} in a layout of {layout.rows} x {layout.dimension}",
            remedy="prepare the gallery for the agreed layout",
        )
    blocks = []
    for block in range(layout.blocks):
        # Half, because an admitted query holds twice the embedding.
        encoded = [scheme.encode(0.5 * plain) for plain in layout.diagonals(rows, block)]
        giants = range(0, layout.share_rows, layout.babies)
        blocks.append(tuple(tuple(encoded[giant : giant + layout.babies]) for giant in giants))
    return PreparedGallery(layout, tuple(blocks))


def evaluate(scheme: Scheme, gallery: PreparedGallery, query: AdmittedQuery, keys: PublicKeys) -> Evaluation:
    """The scores of every row of the gallery, encrypted, at the last level."""
    layout = gallery.layout
    turned = {0: query.ciphertext}
    blocks: list[Ciphertext | None] = []
    for block in gallery.plaintexts:
        total = None
        for giant, plaintexts in enumerate(block):
            for baby, plaintext in enumerate(plaintexts):
                if plaintext is not None and baby not in turned:
                    turned[baby] = scheme.rotate(query.ciphertext, baby * layout.lanes, keys)
            used = [baby for baby, plaintext in enumerate(plaintexts) if plaintext is not None]
            part = scheme.inner_product([turned[baby] for baby in used], [plaintexts[baby] for baby in used])
            if part is not None and giant:
                part = scheme.rotate(part, giant * layout.babies * layout.lanes, keys)
            if total is None:
                total = part
            elif part is not None:
                scheme.add(total, part)
        if total is not None:
            scheme.to_last_level(total)
            for step in layout.copy_steps:
                scheme.add(total, scheme.rotate(total, step * layout.lanes, keys))
        blocks.append(total)
    return Evaluation(layout, blocks)
