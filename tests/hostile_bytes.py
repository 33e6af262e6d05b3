"""Requests that nobody may send: valid ones damaged by structure, and noise. Drawn from a seeded generator."""

from __future__ import annotations

import json
import math
import os
import random
import struct
from collections.abc import Sequence
from typing import Any

COUNT = int(os.environ.get("PHENOFED_FUZZ", "0"))
"""Malformed requests an endpoint; 0 leaves each test its own, smaller number. See docs/hostile-input.md."""

NUMBERS = (0, -1, 1 << 31, 1 << 63, -(1 << 70), 10**400, 1e308, math.inf, -math.inf, math.nan, 0.1)
TEXTS = (
    *("", " ", "\0", "a\0b", "\ud800", "\u202e\u2066", "\x1b[2J", "é" * 3, "e\u0301", "\ufeff", "null"),
    *("../" * 30 + "etc/passwd", "/dev/zero", "-", "--help", "%s%n", "${HOME}", "{}", "A" * 300, "B" * 70_000),
)
KEYS = ("operation", "__class__", "version", "", "\0", "patients ", "Top", "silo", "self", "x" * 2000)
LENGTHS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)


def count(usual: int) -> int:
    """How many malformed requests a test sends."""
    return COUNT or usual


class Hostile:
    """Draws them; the same seed draws the same ones."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def noise(self, most: int = 300) -> bytes:
        """Bytes that mean nothing."""
        return self.rng.randbytes(self.rng.randrange(most))

    def damaged(self, content: bytes, *, times: int = 3) -> bytes:
        """Bits, lengths and places of ``content`` changed, parts of it gone, twice, or in another order.

        Never ``content`` itself: what was asked before may be asked again.
        """
        raw = bytearray(content)
        for _ in range(self.rng.randint(1, times)):
            place = self.rng.randrange(len(raw) + 1)
            end = min(len(raw), place + self.rng.choice((1, 2, 4, 8, 16, 64)))
            how = self.rng.randrange(8)
            if how == 0 and place < len(raw):
                raw[place] ^= 1 << self.rng.randrange(8)
            elif how == 1:
                del raw[place:]
            elif how == 2:
                del raw[place:end]
            elif how == 3:
                raw[place:place] = raw[place:end]
            elif how == 4:
                raw[place:place] = self.noise(40)
            elif how == 5:
                raw[place : place + 4] = struct.pack(">I", self.rng.choice(LENGTHS) & 0xFFFFFFFF)
            elif how == 6:
                raw[place : place + 8] = struct.pack(">Q", self.rng.choice(LENGTHS))
            else:
                raw = raw[place:] + raw[:place]
        return bytes(raw) if raw != content else content + b"\0"

    def value(self, value: Any, *, deep: int = 0) -> Any:
        """``value`` with one place in it changed: another type, a wild number, an unknown key, a part gone."""
        if isinstance(value, dict) and value and self.rng.random() < 0.7:
            key = self.rng.choice(list(value))
            how = self.rng.randrange(4)
            if how == 0:
                return {name: held for name, held in value.items() if name != key}
            if how == 1:
                return {**value, self.rng.choice(KEYS): self._wild()}
            return {**value, key: self.value(value[key], deep=deep + 1)}
        if isinstance(value, list) and value and self.rng.random() < 0.7:
            index = self.rng.randrange(len(value))
            how = self.rng.randrange(4)
            if how == 0:
                return value[:index] + value[index + 1 :]
            if how == 1:
                return value * self.rng.choice((2, 100))
            if how == 2:
                return self.rng.sample(value, len(value))
            return [*value[:index], self.value(value[index], deep=deep + 1), *value[index + 1 :]]
        return self._wild()

    def text(self, values: dict[str, Any]) -> bytes:
        """A JSON object that is damaged in its values, in its bytes, or that says a key twice."""
        how = self.rng.randrange(6)
        if how == 0:
            return self.damaged(json.dumps(values).encode())
        if how == 1:
            key = self.rng.choice(list(values))
            twice = f"{json.dumps(key)}: {json.dumps(self._wild())}"
            return (json.dumps(values)[:-1] + ", " + twice + "}").encode()
        if how == 2:
            return json.dumps(self._wild()).encode()
        if how == 3:
            return json.dumps(self.value(values), ensure_ascii=False).encode("utf-8", "surrogatepass")
        return json.dumps(self.value(values)).encode()

    def pick(self, *choices: Any) -> Any:
        """One of them."""
        return self.rng.choice(choices)

    def shuffled(self, parts: Sequence[bytes]) -> list[bytes]:
        """Parts out of order, missing, twice."""
        return [self.rng.choice(parts) for _ in range(self.rng.randrange(len(parts) + 3))] if parts else []

    def _wild(self) -> Any:
        how = self.rng.randrange(9)
        if how < 2:
            return self.rng.choice(NUMBERS)
        if how < 4:
            return self.rng.choice(TEXTS)
        if how == 4:
            return self.rng.choice((None, True, False))
        if how == 5:
            return [self.rng.choice(NUMBERS) for _ in range(self.rng.choice((0, 1, 3, 500)))]
        if how == 6:
            return {self.rng.choice(KEYS): self.rng.choice(TEXTS)}
        nested: Any = self.rng.choice(NUMBERS)
        for _ in range(self.rng.choice((2, 60, 400))):
            nested = [nested] if how == 7 else {"a": nested}
        return nested
