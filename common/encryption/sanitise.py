"""The only way from encrypted scores to bytes.

An answer as the evaluator leaves it tells the key holder the silo's rows: c1 is a linear function of them, and the
rounding noise shows in the imaginary parts. So every answer takes, together or not at all: complex noise on every
slot, a fresh encryption of zero, and the mask bound to the transcript. The query was made real on its way in.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from common.encryption.evaluator import Evaluation
from common.encryption.masks import MaskKey, mask
from common.encryption.scheme import PublicKeys, Scheme


@dataclass(frozen=True)
class Noise:
    """What a silo adds to every slot.

    Attributes:
        deviation: standard deviation, real and imaginary part each, in units of a score; 0 only in simulations
            that compare with the formula in clear.
        scaled: whether it grows with the norm of the query, so that a longer query gains nothing.
    """

    deviation: float = 1e-6
    scaled: bool = False


NOISE = Noise()
"""Of the profile ``standard``."""


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
        closed: rows to drown, whatever the evaluation held of them.
    """
    slots = scheme.parameters.slots
    blocks = [
        scheme.release(
            ciphertext,
            keys,
            noise=noise.deviation * system_normal(2 * slots).view(np.complex128),
            mask=mask(mask_keys, block, scheme.parameters),
        )
        for block, ciphertext in enumerate(evaluation._blocks)
    ]
    return Response(b"".join(blocks))


def system_normal(count: int) -> npt.NDArray[np.float64]:
    """(count,) standard normal numbers from the system's generator (Box and Muller 1958); never seeded."""
    words = np.frombuffer(secrets.token_bytes(16 * count), dtype="<u8").reshape(2, count)
    radius, angle = ((words >> np.uint64(11)) + 0.5) / 2.0**53
    return np.asarray(np.sqrt(-2 * np.log(radius)) * np.cos(2 * np.pi * angle))
