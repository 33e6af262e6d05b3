"""How the gallery of a new epoch comes from the current patients and the gallery before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from client.gallery.gallery import Gallery
from common.errors import CohortError
from common.privacy.gallery_rule import Change, change
from common.ranking.patients import Embeddings


def everybody(
    embeddings: Embeddings, places: Mapping[str, int], rows: int, alone: set[str], token: Callable[[str], str]
) -> Gallery:
    """A gallery, of no epoch yet, of all who may be matched today; see ``GalleryKeeper.propose``.

    Raises:
        CohortError: a patient stands twice, or belongs to a row that there is not.
    """
    if len(set(embeddings.ids)) != len(embeddings.ids):
        raise CohortError("a patient stands twice in the gallery", remedy="give one embedding a patient")
    chosen = [index for index, patient in enumerate(embeddings.ids) if patient in places]
    ids = [embeddings.ids[index] for index in chosen]
    if any(not 0 <= places[patient] < rows for patient in ids):
        raise CohortError(f"a patient belongs to none of {rows} rows", remedy="check labels and registry")
    return Gallery(
        0,
        "",
        rows,
        np.array([places[patient] for patient in ids], dtype=np.int64),
        tuple(token(patient) for patient in ids),
        embeddings.matrix[chosen].astype(np.float32),
        np.array([patient in alone for patient in ids], dtype=bool),
        frozenset(),
    )


def following(
    fresh: Gallery,
    before: Gallery | None,
    served: dict[int, list[frozenset[str]]],
    *,
    first: bool,
    number: int,
    release: str,
) -> Gallery:
    """The gallery that the rule makes, row by row, of ``fresh``, all who may be matched today.

    Args:
        before: the newest gallery of the same release, where it is still there.
        served: the sets of each row under that release; takes in the new ones.
        first: whether the release has served nothing yet.
    """
    now, then = _sets(fresh), _sets(before) if before else {}
    taken, vetoed = [(fresh, np.zeros(0, dtype=np.int64))], set()
    for row in sorted({*now, *served}):
        past = served.setdefault(row, [] if first else [frozenset()])
        current = now.get(row, frozenset())
        decided = change(current, past, intact=bool(past) and then.get(row, frozenset()) == past[-1])
        if decided is Change.REBUILD:
            past.append(current)
            taken.append((fresh, np.flatnonzero(fresh.places == row)))
        elif decided is Change.VETO:
            vetoed.add(row)
        elif before is not None:
            taken.append((before, np.flatnonzero(before.places == row)))
    return Gallery(
        number,
        release,
        fresh.rows,
        np.concatenate([source.places[at] for source, at in taken]),
        tuple(source.tokens[index] for source, at in taken for index in at),
        np.concatenate([source.matrix[at] for source, at in taken]),
        np.concatenate([source.alone[at] for source, at in taken]),
        frozenset(vetoed),
    )


def _sets(gallery: Gallery) -> dict[int, frozenset[str]]:
    sets: dict[int, set[str]] = {}
    for place, token in zip(gallery.places.tolist(), gallery.tokens, strict=True):
        sets.setdefault(place, set()).add(token)
    return {row: frozenset(tokens) for row, tokens in sets.items()}
