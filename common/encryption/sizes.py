"""The exact length of every payload, from what was agreed and never from the payload."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from common.encryption import residues
from common.encryption.layout import Layout
from common.encryption.parameters import Parameters


def galois_elements(rotations: Iterable[int], parameters: Parameters) -> list[int]:
    """The automorphisms behind rotations by these many slots, and complex conjugation (2N - 1), ascending."""
    ring = 2 * parameters.degree
    return sorted({pow(3, step, ring) for step in rotations} | {ring - 1})


def keys_bytes(rotations: Sequence[int], parameters: Parameters) -> int:
    """A public key and, for each switching key and data prime, a part of it: a polynomial and a seed each.

    There is one key for each Galois element, and one for products of ciphertexts where the parameters know them.
    """
    polynomial = residues.size(parameters.moduli, parameters.degree)
    pairs = (len(galois_elements(rotations, parameters)) + parameters.squares) * parameters.level
    return (1 + pairs) * (polynomial + residues.SEED_BYTES)


def query_bytes(parameters: Parameters) -> int:
    """One polynomial and the seed of the other."""
    return residues.size(parameters.data_moduli, parameters.degree) + residues.SEED_BYTES


def block_bytes(parameters: Parameters) -> int:
    """Two polynomials modulo q0."""
    return 2 * residues.size((parameters.answer_modulus,), parameters.degree)


def answer_bytes(layout: Layout) -> int:
    """All blocks of an answer, one after the other."""
    return layout.blocks * block_bytes(layout.parameters)
