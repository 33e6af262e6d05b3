"""Patients in records that outlive their data: a keyed hash, which says nothing to whoever lacks the key.

The key stays in the workspace. Whoever holds both a record and the key can tell whether a patient whose id they
know is in it, and nothing of the others.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from common.errors import AgentError
from common.storage import write_text

FILE = "patients.key"
_BYTES = 32


class PatientKey:
    """The workspace's key, made at its first use (0600).

    Raises:
        AgentError: the file is damaged or cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        try:
            if not self._path.exists():
                self._make()
            self._key = bytes.fromhex(self._path.read_text().strip())
        except (OSError, ValueError) as error:
            raise AgentError(f"{self._path} cannot be read", remedy="restore it from a backup") from error
        if len(self._key) != _BYTES:
            raise AgentError(f"{self._path} is damaged", remedy="restore it from a backup")

    @property
    def name(self) -> str:
        """(32 hexadecimal digits) tells this key from others; no patient has an empty id."""
        return self.token("")

    def token(self, patient: str) -> str:
        """(32 hexadecimal digits) HMAC-SHA256 of the patient's id, cut to 128 bits."""
        return hmac.new(self._key, patient.encode(), hashlib.sha256).hexdigest()[:32]

    def check(self, name: str | None, record: Path) -> None:
        """Check that a record was written with this key.

        Raises:
            AgentError: it was not: who withdrew would not be known again.
        """
        if name is not None and name != self.name:
            raise AgentError(
                f"{record.name} was written with another key than {self._path}",
                remedy="restore both from one backup",
            )

    def _make(self) -> None:
        """Whoever comes second finds the first one's key."""
        fresh = self._path.with_name(f".{FILE}.{secrets.token_hex(8)}")
        try:
            write_text(fresh, secrets.token_bytes(_BYTES).hex() + "\n", private=True)
            os.link(fresh, self._path)
        except FileExistsError:
            pass
        finally:
            fresh.unlink(missing_ok=True)
