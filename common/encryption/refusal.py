"""The one error for everything that is wrong with what a peer sent, which hides the check that it failed."""

from __future__ import annotations

from common.errors import EncryptionError


def refused() -> EncryptionError:
    """A new instance of it."""
    return EncryptionError(
        "a message was refused", remedy="check that both sides run the same release, roster, panel and key epoch"
    )
