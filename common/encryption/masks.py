"""Masks that cancel over a whole panel and hide each silo's own scores exactly.

Each pair of silos of a panel shares a key. For every answer they expand it, bound to the transcript, to uniform
residues modulo q0; the silo that comes first in the panel's order adds them, the other subtracts them. The sum
over the panel is free of them, and any smaller sum, or silos that saw different queries, is uniformly random.
After Bonawitz et al., CCS 2017, without its recovery from dropouts: an incomplete panel gives nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from common.encryption.parameters import Parameters

KEY_BYTES = 32


@dataclass(frozen=True)
class MaskKey:
    """One pair's key for one transcript, and whether this silo adds (+1) or subtracts (-1) what it expands to."""

    key: bytes
    sign: int


def transcript(query: bytes, *, panel: bytes, layout: bytes) -> bytes:
    """(32 bytes) T: what every silo of the panel must have seen alike, query envelope without its signature.

    ``panel`` is the panel's digest, which covers members, order and gallery epoch.
    """
    digest = hashlib.sha256(b"phenofed transcript 1")
    for part in (hashlib.sha256(query).digest(), panel, layout):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()


def mask_key(pair: bytes, bound_to: bytes) -> bytes:
    """(32 bytes) HKDF-SHA256 of a pair's key under a transcript (RFC 5869)."""
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=bound_to, info=b"phenofed mask 1").derive(pair)


def mask(keys: Sequence[MaskKey], block: int, parameters: Parameters) -> npt.NDArray[np.uint64]:
    """(N,) residues modulo q0 for one block of an answer: the signed sum over all pairs of this silo."""
    modulus = np.uint64(parameters.answer_modulus)
    total = np.zeros(parameters.degree, dtype=np.uint64)
    for pair in keys:
        part = uniform(pair.key, block, parameters.answer_modulus, parameters.degree)
        total = (total + (part if pair.sign > 0 else (modulus - part) % modulus)) % modulus
    return total


def uniform(key: bytes, block: int, modulus: int, count: int) -> npt.NDArray[np.uint64]:
    """(count,) residues, uniform: AES-256 in counter mode, words cut to the prime's bits, too large ones
    rejected."""
    # The upper half of the counter names the block, so that no two blocks share a stream.
    start = block.to_bytes(8, "big") + bytes(8)
    stream = Cipher(algorithms.AES256(key), modes.CTR(start)).encryptor()
    spare = np.uint64(64 - modulus.bit_length())
    found = np.empty(0, dtype=np.uint64)
    while len(found) < count:
        words = np.frombuffer(stream.update(bytes(8 * count)), dtype="<u8") >> spare
        found = np.concatenate([found, words[words < np.uint64(modulus)]])
    return found[:count]
