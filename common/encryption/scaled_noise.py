"""Noise that grows with the query, so that a querier who sends a longer one learns nothing more.

The silo answers with a gallery whose every row has been moved at random, anew for each answer. To the product of
query and row s comes <q, e_s> with

    e_s = sum over k of n_sk r_sk

where n are independent complex normal numbers, one a slot, and r real normal vectors as long as the ring, a few
for each lane. Given q its deviation is that of the profile times |q|, in each lane by itself. It is linear in q as
the product is, so that a longer, shorter or otherwise chosen query changes the ratio of the two in no way. A
factor made from the encrypted |q|^2 would not hold: residues have no sign, and there are long queries whose
squares sum to zero modulo the primes. Against <q, r> one would need to know r. Nor does it need a further level or
key.

It rests on the querier's rotation keys being what they should: a silo cannot tell forged ones, and they could keep
parts of a query out of <q, r>.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from common.encryption.diagonals import Turned, doublings, sum_turned
from common.encryption.layout import Layout
from common.encryption.normal import system_normal
from common.encryption.scheme import Ciphertext, PublicKeys, Scheme

Slots = npt.NDArray[Any]

PROJECTIONS = 4
"""Products <q, r> that a slot's noise is made from. One alone might come out near zero, and the noise with it."""

_FINE = 2.0**12
"""The scale of r. Small, so that a level is left; its rounding makes r another random vector, no wrong one."""


def scaled_noise(
    scheme: Scheme, layout: Layout, query: Turned, keys: PublicKeys, *, deviation: float, count: int
) -> list[Ciphertext]:
    """``count`` ciphertexts of noise, one level below the query's.

    Args:
        deviation: of real and imaginary part each, for a query of unit norm.
    """
    parameters, width = layout.parameters, min(PROJECTIONS, layout.ring)
    level, slots = parameters.level, parameters.slots
    # Slot x holds a sum over positions x, x + width, x + 2 width, ...: width different projections a lane.
    parts = [_times(scheme, query(0), system_normal(slots), level, _FINE) for _ in range(width)]
    projected = _turned_sum(scheme, layout, parts, keys)
    steps = doublings(width, layout.ring)
    sum_turned(scheme, projected, [layout.lanes * step for step in steps], keys)
    # An admitted query holds twice the embedding.
    size = deviation / (2 * np.sqrt(width))
    scale = parameters.product_scale(level) / _FINE
    blocks = []
    for _ in range(count):
        numbers = size * system_normal(2 * slots * width).view(np.complex128).reshape(width, slots)
        parts = [_times(scheme, projected, one, level, scale) for one in numbers]
        block = _turned_sum(scheme, layout, parts, keys)
        scheme.rescale(block)
        blocks.append(block)
    return blocks


def _times(scheme: Scheme, ciphertext: Ciphertext, slots: Slots, level: int, scale: float) -> Ciphertext:
    return scheme.inner_product([ciphertext], [scheme.encode(slots, level=level, scale=scale)])


def _turned_sum(scheme: Scheme, layout: Layout, parts: list[Ciphertext], keys: PublicKeys) -> Ciphertext:
    """The sum of all parts, the k-th turned by k positions, out of rotations by powers of two."""
    step = layout.lanes
    while len(parts) > 1:
        for left, right in zip(parts[::2], parts[1::2], strict=True):
            scheme.add(left, scheme.rotate(right, step, keys))
        parts, step = parts[::2], 2 * step
    return parts[0]
