"""What a coordinator says of its rounds while it leads a run."""

from __future__ import annotations

import re

from simulations.story.stage import Stage


class RoundLog:
    """What a coordinator's log says of rounds."""

    _LINE = re.compile(r"^round (\d+) of \d+: (\d+|discarded)(?: silos)?.*$", re.MULTILINE)

    def __init__(self, stage: Stage, name: str) -> None:
        self._path = stage.log(name)

    @property
    def numbers(self) -> list[int]:
        """Rounds that it tells of, in order."""
        return [int(match[1]) for match in self._LINE.finditer(self._text)]

    @property
    def done(self) -> int:
        """The last of them; 0 for none."""
        return max(self.numbers, default=0)

    def without(self, silo: str) -> int:
        """How many rounds were without a silo."""
        return sum(f"; {silo}:" in match[0] for match in self._LINE.finditer(self._text))

    def line_without(self, silo: str) -> str:
        """What is said of the first of them."""
        return next(match[0] for match in self._LINE.finditer(self._text) if f"; {silo}:" in match[0])

    def last_counts(self, silos: int) -> bool:
        """Whether the last round counted so many silos."""
        found = [match[2] for match in self._LINE.finditer(self._text)]
        return bool(found) and found[-1] == str(silos)

    @property
    def _text(self) -> str:
        return self._path.read_text() if self._path.exists() else ""
