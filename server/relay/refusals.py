"""Who was refused at the relay, and why: lines of JSON in ``refusals.jsonl`` beside relay.yaml.

    {"key": "9f2c...", "silo": "", "times": 1, "time": "2026-06-01T08:15:30Z", "version": 1, "why": "unknown"}

A line for the first time, and one a minute with how often it was meanwhile: whoever knocks without end fills no
disk. ``key`` is the SHA-256 of the TLS key that was shown. Handshakes that TLS refuses leave no line here.
"""

from __future__ import annotations

import datetime
import json
import logging
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LOG = logging.getLogger("phenofed.relay")
FILE, FORMER = "refusals.jsonl", "refusals.1.jsonl"
LARGEST, PACE, MOST_KNOWN = 4 << 20, 60.0, 512
"""Bytes of a file before it takes the former one's place; seconds between lines of one kind; kinds remembered."""

ORDINARY = frozenset({"unreachable", "expired", "full"})
"""What is nobody's fault: counted in the metrics alone."""


@dataclass
class _Kind:
    written: float
    unwritten: int = 0


class RefusalLog:
    """Appends in one thread; a disk that refuses stops no relay.

    Args:
        folder: the relay's.
        clock: seconds that never go back.
    """

    def __init__(
        self, folder: Path, *, clock: Callable[[], float] = time.monotonic, largest: int = LARGEST
    ) -> None:
        self._folder, self._clock, self._largest = folder, clock, largest
        self._known: OrderedDict[tuple[str, str, str], _Kind] = OrderedDict()

    def note(self, silo: str, why: str, key: str) -> None:
        """Take down a refusal.

        Args:
            silo: its roster name, empty for a stranger.
            key: 64 hexadecimal digits of the stranger's TLS key, where there is one.
        """
        if why in ORDINARY:
            return
        kind, now = (silo, why, key), self._clock()
        known = self._known.pop(kind, None)
        if known is not None and now - known.written < PACE:
            known.unwritten += 1
            self._known[kind] = known
            return
        self._known[kind] = _Kind(now)
        while len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        self._write(silo, why, key, 1 + (known.unwritten if known else 0))

    def _write(self, silo: str, why: str, key: str, times: int) -> None:
        at = datetime.datetime.now(tz=datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        line = {"version": 1, "time": at, "silo": silo, "why": why, "key": key, "times": times}
        path = self._folder / FILE
        try:
            if path.exists() and path.stat().st_size >= self._largest:
                path.replace(self._folder / FORMER)
            handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.write(handle, json.dumps(line, sort_keys=True).encode() + b"\n")
            finally:
                os.close(handle)
        except OSError as error:
            LOG.error("a refusal could not be written down (%s)", error.strerror)
