"""The policy of now: read anew whenever its file is replaced. An invalid one allows nothing until it is mended.

policy = PolicyInForce(path, changed)
policy().allow.rank        InvalidPolicy while the file does not fit
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

from client.workspace.policy import InvalidPolicy, SiloPolicy, load_policy
from common.errors import AgentError
from common.storage import sha256_bytes

LOG = logging.getLogger("phenofed.policy")

Changed = Callable[[str, bool], None]
"""Told of each other content of the file: its SHA-256, empty where there is none, and whether it is in force."""


class PolicyInForce:
    """One workspace's; any thread may ask.

    Going on with the last valid policy would be kinder to whoever mistypes a key, and wrong for whoever was just
    taking something back.
    """

    def __init__(self, path: Path, changed: Changed = lambda digest, valid: None) -> None:
        self._path, self.changed = path, changed
        self._lock = threading.Lock()
        self._stamp: tuple[int, ...] | None = None
        self._held: SiloPolicy | InvalidPolicy | AgentError | None = None
        self.digest = ""
        """SHA-256 of the file as read last."""

    def __call__(self) -> SiloPolicy:
        """The policy in force.

        Raises:
            InvalidPolicy: it does not fit; every problem in one message.
            AgentError: there is none.
        """
        with self._lock:
            stamp = self._looked()
            if self._held is None or stamp != self._stamp:
                self._stamp = stamp
                self._read()
            held = self._held
        if isinstance(held, SiloPolicy):
            return held
        assert held is not None
        raise type(held)(held.what, remedy=held.remedy)

    @property
    def valid(self) -> bool:
        """Whether there is one in force now."""
        try:
            self()
        except (InvalidPolicy, AgentError):
            return False
        return True

    def _looked(self) -> tuple[int, ...]:
        try:
            found = os.stat(self._path)
        except OSError:
            return ()
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> None:
        first, digest = self._held is None, ""
        try:
            if not self._path.exists():
                raise AgentError(f"{self._path} is missing", remedy="run phenofed silo join, or write it")
            digest = sha256_bytes(self._path.read_bytes())
            self._held = load_policy(self._path.resolve())
        except OSError as error:
            self._held = InvalidPolicy(f"cannot read {self._path} ({error.strerror})", remedy="check its owner")
        except (InvalidPolicy, AgentError) as error:
            self._held = error
        if digest == self.digest and not first:
            return
        self.digest, valid = digest, isinstance(self._held, SiloPolicy)
        if not first:
            if valid:
                LOG.warning("policy.yaml changed; it is in force as it stands now")
            else:
                LOG.error("policy.yaml changed and allows nothing until it is mended: %s", self._held)
        self.changed(digest, valid)
