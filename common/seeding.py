"""Randomness is passed in: generators derived from a seed and the names of what they serve.

``generator(7, "silo-1", 3, "episodes")`` is the same stream on every machine, and no two names share one.
Deployed noise, masks and keys never come from here: they come from the system's generator.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def derive(seed: int, *names: str | int) -> int:
    """A 63-bit seed for (seed, names), by SHA-256 over their length-prefixed texts."""
    digest = hashlib.sha256()
    for part in (seed, *names):
        text = f"{type(part).__name__}:{part}".encode()
        digest.update(len(text).to_bytes(4, "big") + text)
    return int.from_bytes(digest.digest()[:8], "big") >> 1


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """A numpy generator for (seed, names)."""
    return np.random.default_rng(derive(seed, *names))


def torch_generator(seed: int, *names: str | int) -> torch.Generator:
    """A torch CPU generator for (seed, names); torch is imported on first use."""
    import torch

    return torch.Generator().manual_seed(derive(seed, *names))
