"""The two workers of discovery: the key holder's, from which links alone leave, and the other hospital's.

Both refuse blocks above ``MOST_ROWS`` rows, whatever their owner says.
"""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from common.encryption.envelope import unseal
from common.encryption.gram import admit_columns, ask, evaluate_block, read_block, sanitise_block
from common.encryption.gram_layout import MOST_ROWS, GramLayout
from common.encryption.gram_seal import GramScheme
from common.encryption.gram_terms import Pairing, checked_threshold, split_entries, split_threshold, with_threshold
from common.encryption.sealed_keys import open_secret, seal_secret
from common.errors import DisclosureError, EncryptionError

DECIMALS = 2
"""Of a released similarity."""


def service(kind: str, folder: Path) -> AskerService | ResponderService:
    """The worker of that kind: "gram-asker" or "gram-responder"."""
    scheme = GramScheme(folder)
    return AskerService(scheme) if kind == "gram-asker" else ResponderService(scheme)


class AskerService:
    """Makes a key for each question and seals it; of an answer only links at or above the threshold leave."""

    def __init__(self, scheme: GramScheme) -> None:
        self._scheme = scheme

    def handle(self, command: bytes, parts: list[bytes]) -> list[bytes]:
        """``ask`` or ``links``."""
        data = json.loads(parts[0])
        layout = _admitted(data)
        if command == b"ask":
            return self._ask(layout, data["threshold"], rows=parts[1], wrap=parts[2])
        if command == b"links":
            sealed, wrap, key_id, bound_to, envelope = parts[1:]
            threshold = checked_threshold(data["threshold"])
            content = open_secret(sealed, wrap, _bound(layout, threshold, key_id))
            secret = self._scheme.load_secret(content)
            pairing = Pairing.from_json(data["pairing"])
            acceptable = pairing.answers(layout, key_id)
            opened = unseal(envelope, list(acceptable), pairing.responder, message_id=bound_to)
            links = self._links(opened.payload, acceptable[opened.terms], threshold, secret)
            return [json.dumps(links).encode()]
        raise EncryptionError("the worker knows no such request", remedy="restart the agent")

    def _ask(self, layout: GramLayout, threshold: float, *, rows: bytes, wrap: bytes) -> list[bytes]:
        secret = self._scheme.make_secret()
        content = ask(self._scheme, _matrix(rows, layout.rows, layout.dimension), secret)
        payload = with_threshold(threshold, content)
        key_id = _bound(layout, threshold, hashlib.sha256(payload).digest())
        return [payload, self._scheme.save_secret(secret, lambda clear: seal_secret(clear, wrap, key_id))]

    def _links(
        self, payload: bytes, layout: GramLayout, threshold: float, secret: Any
    ) -> list[tuple[int, str, float]]:
        agreed, content = split_threshold(payload)
        pseudonyms, answer = split_entries(content, layout)
        entries = read_block(self._scheme, answer, layout, secret)
        found = np.argwhere(entries >= max(threshold, agreed))
        return [
            (int(row), pseudonyms[patient].hex(), round(min(float(entries[patient, row]), 1.0), DECIMALS))
            for patient, row in found
        ]


class ResponderService:
    """Evaluates and sanitises; nothing here gives out a ciphertext, and nothing is kept between two requests."""

    def __init__(self, scheme: GramScheme) -> None:
        self._scheme = scheme

    def handle(self, command: bytes, parts: list[bytes]) -> list[bytes]:
        """``answer``."""
        data = json.loads(parts[0])
        layout = _admitted(data)
        if command != b"answer":
            raise EncryptionError("the worker knows no such request", remedy="restart the agent")
        patients = _matrix(parts[2], data["patients"], layout.dimension)
        columns = admit_columns(self._scheme, parts[1], layout)
        return [sanitise_block(self._scheme, evaluate_block(columns, patients))]


def _admitted(data: Any) -> GramLayout:
    layout = GramLayout(data["dimension"], data["rows"])
    if layout.rows > MOST_ROWS:
        raise DisclosureError(
            f"a block of {layout.rows} rows would reveal the other hospital's patients",
            remedy=f"compare at most {MOST_ROWS} patients",
        )
    return layout


def _matrix(content: bytes, rows: int, dimension: int) -> npt.NDArray[np.float64]:
    return np.frombuffer(content, "<f8").reshape(rows, dimension)


def _bound(layout: GramLayout, threshold: float, key_id: bytes) -> bytes:
    """What a sealed key opens for: this question, at the threshold that it was asked with."""
    return hashlib.sha256(layout.digest + struct.pack(">d", threshold) + key_id).digest()
