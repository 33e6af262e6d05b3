"""Which offline keys the relay's folder goes by: the one that its settings name, and its successors."""

from __future__ import annotations

from pathlib import Path

from common.consortium.console import read_file
from common.consortium.succession import MAX_BYTES, OfflineKeys, keys_after, read_successions
from common.transport.documents import SUCCESSIONS
from server.relay.settings import RelaySettings


def offline_keys(settings: RelaySettings) -> OfflineKeys:
    """The keys after ``roster_key``, by the successions beside the roster.

    Raises:
        ConfigError: the successions are damaged.
    """
    return _keys(settings.roster.with_name(SUCCESSIONS), bytes.fromhex(settings.roster_key))


def newest_key(successions: Path, pinned: bytes) -> bytes:
    """(32 bytes) the key that signs new documents.

    Raises:
        ConfigError: the successions are damaged.
    """
    return _keys(successions, pinned).newest


def _keys(path: Path, pinned: bytes) -> OfflineKeys:
    chain = read_successions(read_file(path, limit=MAX_BYTES)) if path.exists() else ()
    return keys_after(pinned, chain, chain[0].consortium) if chain else OfflineKeys(pinned)
