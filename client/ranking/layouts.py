"""The layouts that every silo derives from a gallery epoch: one for a single patient and one for several."""

from __future__ import annotations

from typing import cast

from common.consortium.gallery_epoch import GalleryEpoch
from common.encryption.layout import Kernel, Layout

BATCH = 8
SINGLE, SEVERAL = 0, 1


def layouts_of(epoch: GalleryEpoch) -> tuple[Layout, Layout]:
    """(single, several): a query of one embedding, and one of up to eight."""
    kernel = cast(Kernel, epoch.kernel)
    single = Layout(epoch.dimension, epoch.rows, 1, kernel=kernel)
    return single, Layout(epoch.dimension, epoch.rows, min(BATCH, single.lanes), kernel=kernel)


def parts_of(patients: int, several: Layout) -> list[tuple[int, int]]:
    """How ``patients`` are asked for: (layout, patients in it) of each ciphertext.

    A lane costs a unit of the budget whether it is used or not, so a rest that does not fill a ciphertext is asked
    one by one.
    """
    full, rest = divmod(patients, several.queries)
    if several.queries == 1:
        return [(SINGLE, 1)] * patients
    return [(SEVERAL, several.queries)] * full + [(SINGLE, 1)] * rest
