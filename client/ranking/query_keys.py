"""The hospital's own homomorphic keys: made in its worker, kept sealed, changed at times, wiped on demand.

keys/epoch.json        number, layouts, day
keys/public.envelope   what silos are sent, about 20 MB
keys/secret.sealed     the secret key under the hospital's own wrapping key, 0600
"""

from __future__ import annotations

import datetime
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from common.consortium.identity import Member
from common.encryption.key_epoch import KeyEpoch
from common.encryption.layout import Layout
from common.encryption.querier_session import QuerierSession
from common.encryption.worker import Worker
from common.errors import EncryptionError
from common.storage import write_bytes, write_json

DAYS = 90
"""Keys are made anew after so many days."""


@dataclass(frozen=True)
class KeysInUse:
    """The keys of one key epoch and the session that asks with them."""

    epoch: KeyEpoch
    session: QuerierSession
    made: datetime.date


class QueryKeys:
    """The keys in ``folder``, for all threads of an agent.

    Args:
        wrap: (32 bytes) seals the secret key at rest.
        worker: the querier's own.
    """

    def __init__(
        self,
        folder: Path,
        member: Member,
        wrap: bytes,
        worker: Worker,
        *,
        days: int = DAYS,
        today: Callable[[], datetime.date] = datetime.date.today,
    ) -> None:
        self._folder, self._member, self._wrap, self._worker = folder, member, wrap, worker
        self._days, self._today = days, today
        self._used: KeysInUse | None = None
        self._changing = threading.RLock()

    def for_layouts(self, layouts: tuple[Layout, ...]) -> KeysInUse:
        """Keys that serve these layouts: those in use, those on disk, or new ones where neither serves or both
        are too old.

        Raises:
            EncryptionError: the keys on disk do not open; nothing is replaced then.
        """
        with self._changing:
            used = self.in_use()
            if used is not None and (used.epoch.layouts != layouts or self._old(used.made)):
                self._forget(used)
                used = None
            return used or self._make(layouts)

    def in_use(self) -> KeysInUse | None:
        """The keys that the next question would go on with, if there are any."""
        with self._changing:
            self._used = self._used or self._stored()
            return self._used

    def rotate(self) -> KeysInUse | None:
        """New keys for the same layouts; None where there were none to replace."""
        with self._changing:
            used = self.in_use()
            if used is None:
                return None
            self._forget(used)
            return self._make(used.epoch.layouts)

    def wipe(self) -> None:
        """Forget the secret key, in the worker and on disk."""
        with self._changing:
            if self._used is not None:
                self._used.session.wipe()
            self._used = None
            for name in ("secret.sealed", "public.envelope"):
                (self._folder / name).unlink(missing_ok=True)

    def _make(self, layouts: tuple[Layout, ...]) -> KeysInUse:
        number = self._next_number()
        epoch = KeyEpoch(self._member.card, number, layouts)
        # The number is used up before the keys exist: a silo that saw it refuses other keys of that number.
        about = {"number": number, "layouts": [layout.to_json() for layout in layouts]}
        made = self._today()
        write_json(self._folder / "epoch.json", {**about, "made": made.isoformat()})
        session = QuerierSession(self._member, epoch, self._worker, wrap=self._wrap)
        write_bytes(self._folder / "public.envelope", session.keys)
        write_bytes(self._folder / "secret.sealed", session.sealed_keys, private=True)
        self._used = KeysInUse(epoch, session, made)
        return self._used

    def _stored(self) -> KeysInUse | None:
        try:
            sealed = (self._folder / "secret.sealed").read_bytes()
            public = (self._folder / "public.envelope").read_bytes()
            about = json.loads((self._folder / "epoch.json").read_bytes())
            layouts = tuple(Layout.from_json(layout) for layout in about["layouts"])
            epoch = KeyEpoch(self._member.card, int(about["number"]), layouts)
            made = datetime.date.fromisoformat(about["made"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EncryptionError(
                f"the query keys in {self._folder} are damaged", remedy="run phenofed silo keys wipe"
            ) from error
        session = QuerierSession(
            self._member, epoch, self._worker, wrap=self._wrap, keys=public, sealed_keys=sealed
        )
        return KeysInUse(epoch, session, made)

    def _next_number(self) -> int:
        """Higher than any before, also where the file that knew them is lost: seconds since 1970 only grow."""
        try:
            last = int(json.loads((self._folder / "epoch.json").read_bytes())["number"])
        except (OSError, ValueError, KeyError, TypeError):
            last = 0
        return max(last + 1, int(time.time()))

    def _forget(self, used: KeysInUse) -> None:
        used.session.wipe()
        self.wipe()

    def _old(self, made: datetime.date) -> bool:
        return (self._today() - made).days >= self._days
