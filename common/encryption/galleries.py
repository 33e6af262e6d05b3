"""Several galleries in one encrypted pass.

    stack = GalleryStack({"F/F": silos_of_frequent, "both/0": silos_of_split_0, ...})
    with EncryptedRanker(stack.silos, syndromes=stack.rows) as ranker:
        rows, cost = ranker.rank(queries)
    names, scores = stack.scores("both/0", rows)

The score of a syndrome depends on its own prototypes only, so a prototype that several galleries share is one
row, and a query is encrypted once for all of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from common.errors import CohortError
from common.ranking.kernel import Array, Prototypes


class GalleryStack:
    """Galleries, each silo's prototypes by silo name, laid on top of each other without repetition.

    Attributes:
        silos: what each silo holds of all galleries; ``syndromes`` are row names.
        rows: (R,) the row names, the columns that ``EncryptedRanker`` is to score.

    Raises:
        CohortError: no prototype at all.
    """

    def __init__(self, galleries: Mapping[str, Mapping[str, Prototypes]]) -> None:
        self._places: dict[str, dict[str, int]] = {}
        found: dict[bytes, int] = {}
        names: list[str] = []
        parts: dict[str, list[tuple[int, Array, int]]] = {}
        for gallery, silos in galleries.items():
            self._places[gallery] = {}
            for syndrome, pieces in _pieces(silos).items():
                identity = _identity(syndrome, pieces)
                if identity not in found:
                    found[identity] = len(names)
                    for silo, row, count in pieces:
                        parts.setdefault(silo, []).append((len(names), row, count))
                    names.append(f"{syndrome} #{len(names)}")
                self._places[gallery][syndrome] = found[identity]
        if not names:
            raise CohortError("the galleries hold no prototype", remedy="give at least one silo with patients")
        self.rows = tuple(names)
        self.silos = {
            silo: Prototypes(
                tuple(names[place] for place, _, _ in held),
                np.stack([row for _, row, _ in held]),
                np.array([count for _, _, count in held]),
            )
            for silo, held in parts.items()
        }

    def scores(self, gallery: str, rows: Array) -> tuple[tuple[str, ...], Array]:
        """The syndromes of one gallery, (S,) in order of their first appearance, and their scores (n, S).

        Args:
            rows: (n, R), the scores of all rows.
        """
        places = self._places[gallery]
        return tuple(places), rows[:, list(places.values())]


def _pieces(silos: Mapping[str, Prototypes]) -> dict[str, list[tuple[str, Array, int]]]:
    pieces: dict[str, list[tuple[str, Array, int]]] = {}
    for name in sorted(silos):
        silo = silos[name]
        for syndrome, row, count in zip(silo.syndromes, silo.matrix, silo.counts.tolist(), strict=True):
            pieces.setdefault(syndrome, []).append((name, row, count))
    return pieces


def _identity(syndrome: str, pieces: list[tuple[str, Array, int]]) -> bytes:
    digest = hashlib.sha256()
    for part in (syndrome.encode(), *(item for piece in pieces for item in _bytes(piece))):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()


def _bytes(piece: tuple[str, Array, int]) -> tuple[bytes, bytes, bytes]:
    name, row, count = piece
    return name.encode(), row.tobytes(), str(count).encode()
