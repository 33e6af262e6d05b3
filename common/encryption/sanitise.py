"""The only way from encrypted scores to bytes.

An answer as the evaluator leaves it tells the key holder the silo's rows: c1 is a linear function of them, and the
rounding noise shows in the imaginary parts. So every answer takes, together or not at all: complex noise on every
slot, a fresh encryption of zero, and the mask bound to the transcript. The query was made real on its way in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from common.encryption.evaluator import Evaluation
from common.encryption.masks import MaskKey, mask
from common.encryption.normal import system_normal
from common.encryption.scheme import PublicKeys, Scheme
from common.errors import EncryptionError

ADDED = 1e-6
"""Additive noise that every answer has at least, outside simulations."""


@dataclass(frozen=True)
class Noise:
    """What a silo adds to every score.

    Attributes:
        deviation: standard deviation in units of a score; 0 only in simulations that compare with the formula in
            clear.
        scaled: whether it grows with the norm of the query, so that a longer query gains nothing.

    Raises:
        EncryptionError: a deviation that is negative, not finite, or too small to be scaled.
    """

    deviation: float = ADDED
    scaled: bool = False

    def __post_init__(self) -> None:
        smallest = ADDED if self.scaled else 0.0
        if not smallest <= self.deviation < math.inf:
            raise EncryptionError(f"noise of deviation {self.deviation}", remedy=f"use at least {smallest}")

    @property
    def added(self) -> float:
        """Deviation of what ``sanitise`` adds; without it the rounding in the imaginary parts shows the rows."""
        return ADDED if self.scaled else self.deviation

    @property
    def moved(self) -> float:
        """Deviation that ``evaluate`` moves rows by."""
        return self.deviation if self.scaled else 0.0


NOISE = Noise()
"""Of the profile ``standard``: below the decimals that the querier's worker gives out."""

STRICT_NOISE = Noise(1e-3, scaled=True)
"""Of the profile ``strict``: the most that leaves ranks nearly as they are. Among 300 random unit vectors of
length 512, which lie closer together than syndromes do, 97 of 100 of the first ten stay for one silo. It hides
what the third decimal tells, such as one patient's share in a large prototype. It does not stop who collects many
answers and solves for a row; that is what the budget is for."""

DROWNED = 2.0
"""Deviation of the noise on slots that are not to be read, in ranges of an answer. Their coefficients deviate by
sqrt(2 / N) of it, so that even the sum of sixteen silos does not wrap around."""


@dataclass(frozen=True)
class Response:
    """A sanitised answer: all its blocks, ready to be put into an envelope."""

    payload: bytes


def sanitise(
    scheme: Scheme,
    evaluation: Evaluation,
    keys: PublicKeys,
    *,
    mask_keys: Sequence[MaskKey],
    noise: Noise = NOISE,
    closed: Sequence[int] = (),
) -> Response:
    """Blind, mask and serialise.

    Args:
        mask_keys: one for each other silo of the panel.
        closed: rows to drown in noise, whatever the evaluation held of them.

    Raises:
        EncryptionError: scaled noise over an evaluation that was made without it.
    """
    if evaluation._moved != noise.moved:
        raise EncryptionError("the evaluation lacks the profile's noise", remedy="evaluate with the same noise")
    layout = evaluation.layout
    gone = np.zeros(layout.rows)
    gone[list(closed)] = 1
    shown = (layout.spread(gone) == 0) & (layout.shown | (noise.deviation == 0))
    blocks = [
        scheme.release(
            block,
            keys,
            noise=_blur(noise, readable, DROWNED * scheme.parameters.answer_range),
            mask=mask(mask_keys, number, scheme.parameters),
        )
        for number, (block, readable) in enumerate(zip(evaluation._blocks, shown, strict=True))
    ]
    return Response(b"".join(blocks))


def _blur(noise: Noise, readable: npt.NDArray[np.bool_], drowned: float) -> npt.NDArray[np.complex128]:
    """(M,) the profile's noise on the real parts that scores are read from, and all else drowned.

    Otherwise the other copies of a score would let its noise average out, and a querier that makes its rotation
    keys as it likes would read another number in every slot, where a query pays for its scores alone.
    """
    real, imaginary = system_normal(2 * len(readable)).reshape(2, -1)
    unread = np.where(readable & (noise.deviation == 0), 0.0, drowned)
    return np.where(readable, noise.added, drowned) * real + 1j * unread * imaginary
