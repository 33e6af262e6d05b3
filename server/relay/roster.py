"""Who may connect: the signed roster as it lies on the relay's disk, read again when it changes."""

from __future__ import annotations

import logging
from pathlib import Path

from common.consortium.roster import Roster, follows, read_roster
from common.consortium.signed_file import MAX_BYTES
from common.errors import ConfigError
from common.transport.documents import SUCCESSIONS
from server.relay.offline_keys import newest_key

LOG = logging.getLogger("phenofed.relay")


class WatchedRoster:
    """A roster that only its successors replace.

    A file that is damaged, not signed by the offline key, or older changes nothing and is logged once: whoever can
    write to the relay's disk can neither add a member nor bring a revoked one back while the relay runs.

    Args:
        pinned_key: (32 bytes) the consortium's offline key, or one that handed over to it by successions.json.

    Raises:
        ConfigError: there is no valid roster to begin with.
    """

    def __init__(self, path: Path, pinned_key: bytes) -> None:
        self._path, self._successions = path, path.with_name(SUCCESSIONS)
        self._key = pinned_key
        self._state = self._stat()
        self.roster = self._read()

    def name_of(self, spki: str) -> str | None:
        """The member with that TLS key; asked by the relay at each connection."""
        return self.roster.name_of(spki)

    def refresh(self) -> bool:
        """Look at the file; whether another roster holds now."""
        state = self._stat()
        if state == self._state:
            return False
        self._state = state
        try:
            fresh = self._read()
            follows(self.roster, fresh)
        except ConfigError as error:
            LOG.error("the roster in use stays: %s", error, extra={"event": "roster.refused"})
            return False
        changed = fresh.digest != self.roster.digest
        self.roster = fresh
        return changed

    def _read(self) -> Roster:
        try:
            with self._path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise ConfigError(
                f"cannot read {self._path} ({error.strerror})", remedy="copy the consortium's roster there"
            ) from error
        return read_roster(content, newest_key(self._successions, self._key))

    def _stat(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(_stamp(path) for path in (self._path, self._successions))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
