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

from common.encryption.evaluator import Evaluation
from common.encryption.masks import MaskKey, mask
from common.encryption.normal import system_normal
from common.encryption.scheme import PublicKeys, Scheme
from common.errors import EncryptionError

ADDED = 1e-6
"""Additive noise that every answer has at least, outside simulations."""


@dataclass(frozen=True)
class Noise:
    """What a silo adds to every slot.

    Attributes:
        deviation: standard deviation, real and imaginary part each, in units of a score; 0 only in simulations
            that compare with the formula in clear.
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
"""Of the profile ``strict``."""

CLOSED_SHARE = 8
"""A closed row's noise deviates by the range of an answer over this: as much as never wraps around."""


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
        closed: rows to drown in noise, whatever the evaluation held of them: in every copy, for every query.

    Raises:
        EncryptionError: scaled noise over an evaluation that was made without it.
    """
    if evaluation._moved != noise.moved:
        raise EncryptionError("the evaluation lacks the profile's noise", remedy="evaluate with the same noise")
    layout = evaluation.layout
    chosen = np.zeros(layout.rows)
    chosen[list(closed)] = scheme.parameters.answer_range / CLOSED_SHARE
    blocks = [
        scheme.release(
            block,
            keys,
            noise=(noise.added + drowned) * system_normal(2 * len(drowned)).view(np.complex128),
            mask=mask(mask_keys, number, scheme.parameters),
        )
        for number, (block, drowned) in enumerate(zip(evaluation._blocks, layout.spread(chosen), strict=True))
    ]
    return Response(b"".join(blocks))
