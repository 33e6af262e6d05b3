"""The galleries that a silo serves, from epoch to epoch: who is in which row, and since when.

    keeper = GalleryKeeper(folder)
    gallery = keeper.propose(12, embeddings, places, release=..., rows=512, alone=[...])
    keeper.withdraw(patient)      # the rows to close at once, by epoch

Which sets a row may take follows common.privacy.gallery_rule. The file holds the embeddings of few
epochs, and keyed hashes instead of patients' ids: who withdrew is known only as somebody who was there.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import threading
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from client.gallery.gallery import Gallery
from client.gallery.opening import everybody, following
from common.errors import AgentError, CohortError, DisclosureError
from common.ranking.patients import Embeddings
from common.storage import write_bytes
from common.versions import newer_file

VERSION = 1
LIVE_EPOCHS = 2
"""The epoch that is answered, and the one that opens."""
KEPT_RELEASES = 3
"""Releases whose newest gallery stays, so that one may be rolled back."""

Served = dict[str, dict[int, list[frozenset[str]]]]
"""By release and row: every set that was served, the newest last."""

_FILE = "gallery.safetensors"


class GalleryKeeper:
    """One silo's galleries, for all threads of its agent.

    Args:
        folder: for its owner only; the file in it is made when ``new``, once, when a silo joins.

    Raises:
        AgentError: the file is missing, there already, or damaged.
    """

    def __init__(self, folder: Path, *, new: bool = False) -> None:
        self._path = folder / _FILE
        self._lock = threading.Lock()
        self._salt = secrets.token_bytes(32)
        self._served: Served = {}
        self._epochs: dict[int, Gallery] = {}
        if not new:
            self._read()
        elif self._path.exists():
            raise AgentError(
                f"{self._path} exists already", remedy="keep it: a new one would forget who was served"
            )
        else:
            self._write({}, {})

    def gallery(self, number: int) -> Gallery:
        """The gallery of a live epoch.

        Raises:
            AgentError: there is none of that number, or no longer.
        """
        with self._lock:
            if number not in self._epochs:
                raise AgentError(f"this silo serves no gallery epoch {number}", remedy="open a new epoch")
            return self._epochs[number]

    def propose(
        self,
        number: int,
        embeddings: Embeddings,
        places: Mapping[str, int],
        *,
        release: str,
        rows: int,
        alone: Collection[str] = (),
        live: Collection[int] = (),
    ) -> Gallery:
        """The gallery for an epoch; the same again when that epoch was proposed before, whatever has come since.

        Args:
            embeddings: of all patients who may be matched today, unit rows.
            places: the registry row of each of them; those without one are left out. A row never moves.
            release: of the model; a new one frees all rows from their past.
            rows: S, padding included.
            alone: who agreed to be a row of its own.
            live: epochs that are answered, however many were proposed since and never opened.

        Raises:
            DisclosureError: a newer epoch was proposed before.
            CohortError: a patient stands twice, or belongs to a row that there is not.
        """
        with self._lock:
            if number in self._epochs:
                return self._epochs[number]
            newest = max(self._epochs, default=0)
            if number < newest:
                raise DisclosureError(
                    f"gallery epoch {number} comes after epoch {newest}", remedy="open one with a newer number"
                )
            fresh = everybody(embeddings, places, rows, set(alone), self._token)
            before = _newest(self._epochs, release)
            if before is not None and (rows < before.rows or fresh.matrix.shape[1] != before.matrix.shape[1]):
                raise CohortError(
                    "the gallery has fewer rows, or other lengths, than before",
                    remedy="check registry and release",
                )
            past = {row: list(sets) for row, sets in self._served.get(release, {}).items()}
            first = release not in self._served
            made = following(fresh, before, past, first=first, number=number, release=release)
            self._write({**self._served, release: past}, _to_keep({**self._epochs, number: made}, live))
            return made

    def withdraw(self, patient: str) -> dict[int, frozenset[int]]:
        """Close every row that a patient is part of; the rows closed by this call, by epoch.

        The embeddings of those rows are gone from the file when this returns.
        """
        return self._close(frozenset({self._token(patient)}))

    def close_for(self, allowed: Iterable[str], *, alone: Iterable[str]) -> dict[int, frozenset[int]]:
        """Close every row with a patient who is not among ``allowed``, such as when a consent has expired.

        Args:
            alone: those among them who agree, still, to be a row of their own.
        """
        may, may_alone = self._tokens(allowed), self._tokens(alone)
        with self._lock:
            gone = {
                token
                for gallery in self._epochs.values()
                for token, single in zip(gallery.tokens, gallery.alone, strict=True)
                if token not in may or (single and token not in may_alone)
            }
        return self._close(frozenset(gone))

    def _close(self, tokens: frozenset[str]) -> dict[int, frozenset[int]]:
        with self._lock:
            found = {number: gallery.without(tokens) for number, gallery in self._epochs.items()}
            closed = {number: rows for number, (_, rows) in found.items() if rows}
            if closed:
                # In memory first: what withdrew is closed here even where the disk refuses.
                self._epochs = {number: gallery for number, (gallery, _) in found.items()}
                self._write(self._served, self._epochs)
            return closed

    def _token(self, patient: str) -> str:
        return hmac.new(self._salt, patient.encode(), hashlib.sha256).hexdigest()[:32]

    def _tokens(self, patients: Iterable[str]) -> set[str]:
        return {self._token(patient) for patient in patients}

    def _write(self, served: Served, epochs: dict[int, Gallery]) -> None:
        """Make this the state, on disk first."""
        tensors = {}
        for number, gallery in epochs.items():
            for part in ("places", "matrix", "alone"):
                tensors[f"{number}.{part}"] = np.ascontiguousarray(getattr(gallery, part))
        state = {
            "version": VERSION,
            "salt": self._salt.hex(),
            "served": {
                release: {row: [sorted(past) for past in sets] for row, sets in rows.items()}
                for release, rows in served.items()
            },
            "epochs": {
                number: {
                    "rows": gallery.rows,
                    "release": gallery.release,
                    "tokens": gallery.tokens,
                    "vetoed": sorted(gallery.vetoed),
                    "closed": sorted(gallery.closed),
                }
                for number, gallery in epochs.items()
            },
        }
        content = json.dumps(state).encode()
        # Beside the tensors, safetensors would give text back from a path only, not from the bytes read once.
        tensors["state"] = np.frombuffer(content, dtype=np.uint8)
        write_bytes(self._path, save(tensors), private=True)
        self._served, self._epochs = served, epochs

    def _read(self) -> None:
        try:
            tensors = load(self._path.read_bytes())
            state = json.loads(tensors["state"].tobytes())
            newer = newer_file(str(self._path), state["version"], VERSION, kind=AgentError)
            if newer is not None:
                raise newer
            if state["version"] != VERSION:
                raise ValueError("no version")
            self._salt = bytes.fromhex(state["salt"])
            self._served = {
                release: {int(row): [frozenset(past) for past in sets] for row, sets in rows.items()}
                for release, rows in state["served"].items()
            }
            self._epochs = {
                int(number): _gallery(int(number), entry, tensors) for number, entry in state["epochs"].items()
            }
        except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
            what = "is missing" if isinstance(error, FileNotFoundError) else "is damaged"
            raise AgentError(
                f"the silo's record of its galleries {what} ({self._path})",
                remedy="restore it from a backup, or wait for the next release and start a new one",
            ) from error


def _gallery(number: int, entry: Mapping[str, Any], tensors: Mapping[str, Any]) -> Gallery:
    return Gallery(
        number,
        entry["release"],
        entry["rows"],
        tensors[f"{number}.places"],
        tuple(entry["tokens"]),
        tensors[f"{number}.matrix"],
        tensors[f"{number}.alone"],
        frozenset(entry["vetoed"]),
        frozenset(entry["closed"]),
    )


def _newest(epochs: Mapping[int, Gallery], release: str) -> Gallery | None:
    numbers = [number for number, gallery in epochs.items() if gallery.release == release]
    return epochs[max(numbers)] if numbers else None


def _to_keep(epochs: Mapping[int, Gallery], live: Collection[int]) -> dict[int, Gallery]:
    """Those that are answered, the newest, and the newest of each of the newest releases."""
    numbers = sorted(epochs, reverse=True)
    releases = list(dict.fromkeys(epochs[number].release for number in numbers))[:KEPT_RELEASES]
    newest = {next(n for n in numbers if epochs[n].release == release) for release in releases}
    return {
        number: epochs[number] for number in sorted({*newest, *numbers[:LIVE_EPOCHS], *set(live) & set(numbers)})
    }
