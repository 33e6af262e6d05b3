"""Whether anything of a patient is in what was sent: windows of pixels, of photo files and of embeddings.

A window is 32 bytes. Every place of what was sent is compared with every window of what must not be there, as is
or in Base64. Windows of few different bytes, such as those of an even background, say nothing and are left out.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WINDOW, HEAD = 32, 8
LEAST_DIFFERENT = 12
_STEP = 1 << 22


@dataclass(frozen=True)
class Secret:
    """Bytes that must not be sent. ``stride``: from one window to the next; 1 finds any part of 32 bytes."""

    kind: str
    content: bytes
    stride: int = WINDOW


class Windows:
    """The windows of ``secrets``."""

    def __init__(self, secrets: Iterable[Secret]) -> None:
        found: dict[bytes, str] = {}
        for secret in secrets:
            for window in _windows(secret.content, secret.stride):
                found.setdefault(window, secret.kind)
            for skip in range(3):
                text = base64.b64encode(secret.content[skip:])
                for window in _windows(text, WINDOW):
                    found.setdefault(window, f"{secret.kind} (Base64)")
        self._kind = found
        self._heads = np.unique(np.frombuffer(b"".join(window[:HEAD] for window in found), dtype="<u8"))

    def __len__(self) -> int:
        return len(self._kind)

    def found_in(self, sent: bytes) -> dict[str, int]:
        """Bytes of windows that stand in ``sent``, by kind."""
        hits: dict[str, int] = {}
        for place in self._candidates(sent):
            kind = self._kind.get(sent[place : place + WINDOW])
            if kind is not None:
                hits[kind] = hits.get(kind, 0) + WINDOW
        return hits

    def _candidates(self, sent: bytes) -> Iterable[int]:
        for start in range(0, len(sent) - HEAD + 1, _STEP):
            part = np.frombuffer(sent, np.uint8, count=min(_STEP + HEAD - 1, len(sent) - start), offset=start)
            values = np.lib.stride_tricks.sliding_window_view(part, HEAD)
            heads: NDArray[np.uint64] = np.ascontiguousarray(values).view("<u8")[:, 0]
            at = np.minimum(np.searchsorted(self._heads, heads), len(self._heads) - 1)
            yield from (start + np.flatnonzero(self._heads[at] == heads)).tolist()


def _windows(content: bytes, stride: int) -> Iterable[bytes]:
    for start in range(0, len(content) - WINDOW + 1, stride):
        window = content[start : start + WINDOW]
        if len(set(window)) >= LEAST_DIFFERENT:
            yield window
