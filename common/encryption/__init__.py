"""The kernels of ``common.ranking`` under CKKS: hospitals answer an encrypted query, and the querier reads a sum.

``querier_session`` and ``silo_session`` are the two sides of the protocol; ``key_epoch``, ``panel``, ``envelope``
are what they agree on; ``EncryptedRanker`` runs all of it in one place for simulations. Imports common only.
TenSEAL is loaded nowhere but in the worker processes that ``worker`` starts, through ``seal``.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Cost", "EncryptedRanker", "GalleryStack"]


def __getattr__(name: str) -> Any:
    """Load the ranker on first use: a command line that never encrypts stays quick."""
    if name in ("Cost", "EncryptedRanker"):
        from common.encryption import ranker

        return getattr(ranker, name)
    if name == "GalleryStack":
        from common.encryption.galleries import GalleryStack

        return GalleryStack
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
