"""The worker's side of the pipe: ``python -m common.encryption.service SERVICE FOLDER MEMORY SECONDS``.

Started by ``worker`` only. Requests come on standard input and answers leave on standard output.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from common.encryption import frames
from common.encryption.confinement import confine, limit_processor
from common.encryption.epoch import Epoch
from common.encryption.evaluator import PreparedGallery, admit, evaluate, prepare
from common.encryption.layout import Layout
from common.encryption.masks import KEY_BYTES, MaskKey
from common.encryption.querier import Querier
from common.encryption.refusal import refused
from common.encryption.sanitise import sanitise
from common.encryption.scheme import PublicKeys, Scheme
from common.errors import EncryptionError, PhenofedError

_INSTALL = b"install the pinned dependencies; python -c 'import tenseal.sealapi' must succeed"


class Service(Protocol):
    """One side of the protocol."""

    def handle(self, command: bytes, parts: list[bytes]) -> list[bytes]:
        """Answer a request.

        Raises:
            EncryptionError: it cannot be answered.
        """


class SiloService:
    """Evaluates and sanitises. It can load keys and galleries, and answer; nothing here gives out a ciphertext."""

    def __init__(self, scheme: Scheme) -> None:
        self._scheme = scheme
        self._keys: dict[str, PublicKeys] = {}
        self._galleries: dict[str, _Served] = {}

    def handle(self, command: bytes, parts: list[bytes]) -> list[bytes]:
        """``keys``, ``gallery`` or ``answer``."""
        data = json.loads(parts[0])
        if command == b"keys":
            if data["key"] not in self._keys:
                self._keys[data["key"]] = self._scheme.load_keys(parts[1], data["rotations"])
            return []
        if command == b"gallery":
            layout = Layout(*data["layout"])
            rows = np.frombuffer(parts[1], dtype="<f8").reshape(layout.rows, layout.dimension)
            gallery = prepare(self._scheme, layout, rows)
            self._galleries[data["name"]] = _Served(gallery, self._keys[data["key"]], data["noise"])
            return []
        if command == b"answer":
            return [self._answer(data, parts[1], parts[2:])]
        raise EncryptionError("the worker knows no such request", remedy="restart the agent")

    def _answer(self, data: Any, payload: bytes, mask_keys: list[bytes]) -> bytes:
        served = self._galleries[data["name"]]
        if len(mask_keys) != len(data["signs"]) or any(len(key) != KEY_BYTES for key in mask_keys):
            raise EncryptionError("mask keys do not fit the panel", remedy="restart the agent")
        masks = [MaskKey(key, sign) for key, sign in zip(mask_keys, data["signs"], strict=True)]
        query = admit(self._scheme, payload, served.keys)
        evaluation = evaluate(self._scheme, served.gallery, query, served.keys)
        return sanitise(self._scheme, evaluation, served.keys, mask_keys=masks, noise=served.noise).payload


@dataclass(frozen=True)
class _Served:
    gallery: PreparedGallery
    keys: PublicKeys
    noise: float


class QuerierService:
    """Holds the secret keys; only keys for others, queries and rounded scores leave."""

    def __init__(self, scheme: Scheme) -> None:
        self._scheme = scheme
        self._querier: Querier | None = None

    def handle(self, command: bytes, parts: list[bytes]) -> list[bytes]:
        """``begin``, ``encrypt`` or ``scores``."""
        data = json.loads(parts[0])
        if command == b"begin":
            self._querier = Querier(self._scheme, Epoch.from_json(data))
            return [self._querier.public_keys]
        if self._querier is None:
            raise EncryptionError("there are no keys yet", remedy="begin a key epoch")
        if command == b"encrypt":
            queries = np.frombuffer(parts[1], dtype="<f8").reshape(data["shape"])
            return [self._querier.encrypt(queries, data["layout"])]
        if command == b"scores":
            scores = self._querier.scores(parts[2:], bound_to=parts[1], layout=data["layout"])
            return [scores.astype("<f8").tobytes()]
        raise EncryptionError("the worker knows no such request", remedy="restart the agent")


def serve(service: Service, *, requests: int, answers: int, seconds: int) -> None:
    """Answer requests until the owner closes the pipe."""
    while True:
        try:
            command, *parts = frames.read(requests)
        except (frames.PipeClosed, ValueError):
            return
        limit_processor(seconds)
        try:
            answer = [b"ok", *service.handle(command, parts)]
        except PhenofedError as error:
            answer = [b"refused", error.what.encode(), error.remedy.encode()]
        except Exception:
            # What went wrong inside must not tell a peer anything.
            answer = [b"refused", refused().what.encode(), refused().remedy.encode()]
        frames.write(answers, answer)


def main() -> None:
    """Load the library, give up every right that is not needed, serve."""
    kind, folder, memory, seconds = sys.argv[1:]
    requests, answers = os.dup(0), os.dup(1)
    silent = os.open(os.devnull, os.O_RDWR)
    for handle in (0, 1, 2):
        os.dup2(silent, handle)
    try:
        from common.encryption.seal import SealScheme

        scheme = SealScheme(Path(folder))
        missing = confine(Path(folder), memory=int(memory))
    except Exception as error:
        frames.write(answers, [b"refused", f"the encryption worker cannot start ({error})".encode(), _INSTALL])
        return
    frames.write(answers, [b"ok", *(name.encode() for name in missing)])
    service: Service = QuerierService(scheme) if kind == "querier" else SiloService(scheme)
    serve(service, requests=requests, answers=answers, seconds=int(seconds))


if __name__ == "__main__":
    main()
