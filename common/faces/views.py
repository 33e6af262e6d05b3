"""The four test-time views of a crop: {as it is, mirrored} x {colour, grey} (Hustinx et al. 2023)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from common.faces.decode import Pixels


class View(NamedTuple):
    """Which of the two changes a view makes."""

    flip: bool
    grey: bool


VIEWS = (View(False, False), View(False, True), View(True, False), View(True, True))

# Rec. 601 luma in thousandths: integer arithmetic gives the same bytes on every machine.
_LUMA = np.array([299, 587, 114], dtype=np.uint32)


def render(crops: Pixels, *, flip: bool, grey: bool) -> Pixels:
    """One view of crops (..., h, w, 3) uint8 RGB, same shape; grey is luma in all three channels."""
    if grey:
        luma = ((crops.astype(np.uint32) @ _LUMA + 500) // 1000).astype(np.uint8)
        crops = np.repeat(luma[..., None], 3, axis=-1)
    return np.ascontiguousarray(crops[..., ::-1, :]) if flip else crops
