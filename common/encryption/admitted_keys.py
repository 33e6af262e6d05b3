"""The queriers' public keys that a silo has accepted and its worker holds."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass

from common.encryption.envelope import unseal
from common.encryption.key_epoch import KeyEpoch
from common.encryption.refusal import refused
from common.encryption.worker import Workers

KEPT = 2
"""Key epochs kept for a querier and its parameters: the newest, and the one before for queries on their way."""


@dataclass(frozen=True)
class QuerierKeys:
    """Keys of one key epoch, their id, and the worker's name for them."""

    epoch: KeyEpoch
    key_id: bytes
    name: str


class AdmittedKeys:
    """Keys by their id. May be used from several threads at once."""

    def __init__(self, worker: Workers) -> None:
        self._worker = worker
        self._held: dict[bytes, QuerierKeys] = {}
        self._changing = threading.Lock()

    def admit(self, epoch: KeyEpoch, envelope: bytes) -> bytes:
        """(32 bytes) the id of the keys in a KEYS envelope, which the worker has loaded.

        Raises:
            EncryptionError: not from the pinned querier, not for this key epoch, no keys, or of a key epoch that
                came before one already admitted or has other keys.
        """
        opened = unseal(envelope, [epoch.keys_terms()], epoch.querier)
        key_id = epoch.key_id(opened.payload)
        if opened.message_id != key_id:
            raise refused()
        with self._changing:
            if key_id in self._held:
                return key_id
            earlier = self._of_same_kind(epoch)
            if earlier and epoch.number <= self._held[earlier[-1]].epoch.number:
                raise refused()
            keys = QuerierKeys(epoch, key_id, f"keys/{key_id.hex()}")
            data = {"name": keys.name, "epoch": epoch.to_json()}
            self._worker.setup(keys.name, b"keys", json.dumps(data).encode(), opened.payload)
            self._held[key_id] = keys
            for old in earlier[: len(earlier) + 1 - KEPT]:
                self._worker.forget(self._held.pop(old).name)
        return key_id

    def drop(self, key_id: bytes) -> None:
        """Forget keys; queries under them are refused from now on."""
        with self._changing:
            keys = self._held.pop(key_id, None)
            if keys is not None:
                self._worker.forget(keys.name)

    def find(self, key_id: bytes) -> QuerierKeys:
        """The keys of this id.

        Raises:
            EncryptionError: there are none.
        """
        keys = self._held.get(key_id)
        if keys is None:
            raise refused()
        return keys

    def __contains__(self, key_id: bytes) -> bool:
        return key_id in self._held

    def _of_same_kind(self, epoch: KeyEpoch) -> list[bytes]:
        """Ids of the querier's other keys for the same parameters, oldest first."""
        found = [
            (keys.epoch.number, key_id)
            for key_id, keys in self._held.items()
            if keys.epoch.querier == epoch.querier and keys.epoch.parameters == epoch.parameters
        ]
        return [key_id for _, key_id in sorted(found)]
