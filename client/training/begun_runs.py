"""Which runs a silo began to train in, and when: the most of a year are a floor of its policy."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from client.workspace.training_policy import BelowFloor
from common.config import Settings
from common.errors import AgentError
from common.storage import write_text

FILE = "runs.begun.json"
YEAR = datetime.timedelta(days=365)


class _File(Settings):
    version: Literal[1] = 1
    runs: dict[str, datetime.date]


class BegunRuns:
    """Kept as ``FILE`` in ``folder``, written before a run is trained for the first time."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE

    def begin(self, run: str, today: datetime.date, most: int | None) -> None:
        """Note that ``run`` is trained; one that began before goes on, whatever the floor became.

        Raises:
            BelowFloor: ``most`` others began within the last 365 days; says when the next may.
        """
        runs = self._read()
        if run in runs:
            return
        recent = sorted(day for day in runs.values() if day > today - YEAR)
        if most is not None and len(recent) >= most:
            when = f", the next on {recent[len(recent) - most] + YEAR}" if most else ""
            raise BelowFloor(
                f"this hospital begins at most {most} runs a year{when}",
                remedy="see training.most_runs_a_year in policy.yaml",
            )
        write_text(self._path, _File(runs=runs | {run: today}).model_dump_json(indent=1) + "\n", private=True)

    def _read(self) -> dict[str, datetime.date]:
        try:
            return dict(_File.model_validate_json(self._path.read_bytes()).runs)
        except FileNotFoundError:
            return {}
        except (OSError, ValidationError) as error:
            raise AgentError(f"{self._path} is damaged", remedy="restore it from a backup") from error
