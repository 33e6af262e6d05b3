"""The worker's side of the pipe: ``python -m common.encryption.service SERVICE FOLDER MEMORY SECONDS``.

Started by ``worker`` only. Requests come on standard input and answers leave on standard output.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np

from common.encryption import frames
from common.encryption.closed_rows import KEY_BYTES as CLOSED_KEY
from common.encryption.confinement import confine, limit_processor
from common.encryption.evaluator import PreparedGallery, admit, evaluate, prepare
from common.encryption.gallery_rows import GalleryRows
from common.encryption.key_epoch import KeyEpoch
from common.encryption.layout import Layout
from common.encryption.masks import KEY_BYTES, MaskKey
from common.encryption.panel import Panel
from common.encryption.parameters import LINEAR, Parameters
from common.encryption.querier import Asked, Querier, make_keys
from common.encryption.refusal import refused
from common.encryption.sanitise import Noise, sanitise
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


Schemes: TypeAlias = Callable[[Parameters], Scheme]


class SiloService:
    """Evaluates and sanitises. It can load keys and galleries, and answer; nothing here gives out a ciphertext."""

    def __init__(self, schemes: Schemes) -> None:
        self._schemes = schemes
        self._keys: dict[str, tuple[Scheme, PublicKeys]] = {}
        self._galleries: dict[str, PreparedGallery] = {}

    def handle(self, command: bytes, parts: list[bytes]) -> list[bytes]:
        """``keys``, ``gallery``, ``answer`` or ``drop``."""
        data = json.loads(parts[0])
        if command == b"keys":
            epoch = KeyEpoch.from_json(data["epoch"])
            scheme = self._schemes(epoch.parameters)
            self._keys[data["name"]] = scheme, scheme.load_keys(parts[1], epoch.rotations)
            return []
        if command == b"gallery":
            layout = Layout.from_json(data["layout"])
            rows = GalleryRows.from_parts(data["rows"], parts[1:])
            self._galleries[data["name"]] = prepare(self._schemes(layout.parameters), layout, rows)
            return []
        if command == b"answer":
            return [self._answer(data, parts[1], parts[2:])]
        if command == b"drop":
            self._keys.pop(data["name"], None)
            self._galleries.pop(data["name"], None)
            return []
        raise EncryptionError("the worker knows no such request", remedy="restart the agent")

    def _answer(self, data: Any, payload: bytes, mask_keys: list[bytes]) -> bytes:
        (scheme, keys), gallery = self._keys[data["keys"]], self._galleries[data["gallery"]]
        if len(mask_keys) != len(data["signs"]) or any(len(key) != KEY_BYTES for key in mask_keys):
            raise EncryptionError("mask keys do not fit the panel", remedy="restart the agent")
        masks = [MaskKey(key, sign) for key, sign in zip(mask_keys, data["signs"], strict=True)]
        noise, closed = Noise(*data["noise"]), data["closed"]
        evaluation = evaluate(scheme, gallery, admit(scheme, payload, keys), keys, moved=noise.moved)
        return sanitise(scheme, evaluation, keys, mask_keys=masks, noise=noise, closed=closed).payload


class QuerierService:
    """Holds the secret keys; only sealed keys, keys for others, queries and rounded scores leave."""

    def __init__(self, schemes: Schemes) -> None:
        self._schemes = schemes
        self._queriers: dict[str, Querier] = {}

    def handle(self, command: bytes, parts: list[bytes]) -> list[bytes]:
        """``make``, ``open``, ``encrypt``, ``scores`` or ``drop``."""
        data = json.loads(parts[0])
        if command == b"make":
            epoch = KeyEpoch.from_json(data["epoch"])
            return list(make_keys(self._schemes(epoch.parameters), epoch, parts[1]))
        if command == b"open":
            epoch, sealed, wrap = KeyEpoch.from_json(data["epoch"]), parts[1], parts[2]
            scheme, key_id = self._schemes(epoch.parameters), bytes.fromhex(data["key"])
            self._queriers[data["name"]] = Querier(scheme, epoch, sealed=sealed, wrap=wrap, key_id=key_id)
            return []
        if command == b"drop":
            self._queriers.pop(data["name"], None)
            return []
        querier = self._queriers.get(data["name"])
        if querier is None:
            raise EncryptionError("there are no keys", remedy="begin a key epoch")
        if command == b"encrypt":
            queries = np.frombuffer(parts[1], dtype="<f8").reshape(data["shape"])
            return [querier.encrypt(queries, data["layout"])]
        if command == b"scores":
            asked = Asked(Panel.from_json(data["panel"]), data["layout"], parts[1], Noise(*data["noise"]))
            keys = [parts[2][start : start + CLOSED_KEY] for start in range(0, len(parts[2]), CLOSED_KEY)]
            return [querier.scores(parts[3:], asked, closed_keys=keys).astype("<f8").tobytes()]
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
        service = _service(kind, Path(folder))
        missing = confine(Path(folder), memory=int(memory))
    except Exception as error:
        frames.write(answers, [b"refused", f"the encryption worker cannot start ({error})".encode(), _INSTALL])
        return
    frames.write(answers, [b"ok", *(name.encode() for name in missing)])
    serve(service, requests=requests, answers=answers, seconds=int(seconds))


def _service(kind: str, folder: Path) -> Service:
    """Loads the library; to be called before the process is confined."""
    if kind.startswith("gram-"):
        from common.encryption.gram_service import service

        return service(kind, folder)
    from common.encryption.seal import SealScheme

    schemes = functools.cache(lambda parameters: SealScheme(folder, parameters))
    schemes(LINEAR)
    return QuerierService(schemes) if kind == "querier" else SiloService(schemes)


if __name__ == "__main__":
    main()
