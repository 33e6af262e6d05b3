"""The linear kernel under CKKS: hospitals answer an encrypted query, and only the querier reads the sum.

``EncryptedRanker`` runs the whole protocol in one place for simulations; ``session`` holds each side of it.
Imports common only. TenSEAL is loaded nowhere but in the worker processes that ``worker`` starts, through
``seal``.
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
