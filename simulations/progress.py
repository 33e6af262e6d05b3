"""What a long run tells whoever waits: stages with a known length. Silent unless told otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[int], None]


class Progress(Protocol):
    """Shows stages. ``stage`` gives a function that advances it; ``say`` prints a line."""

    def stage(self, name: str, total: int) -> AbstractContextManager[Advance]: ...

    def say(self, line: str) -> None: ...


class Silent:
    """Shows nothing."""

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Advance]:
        yield lambda steps: None

    def say(self, line: str) -> None:
        return None
