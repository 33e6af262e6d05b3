"""Which rounds a silo has trained: how often, and on which parameters, so that a run cannot be asked without end.

Each training on other parameters tells a little more of the same patients. A run that resumes asks for a round
again; more than that is no run.
"""

from __future__ import annotations

import json
from pathlib import Path

from common.errors import DisclosureError
from common.records import TrainRequest, digest
from common.storage import write_json

MOST_STARTS = 3
"""Different parameters for which one round is trained at most."""


class AnsweredRounds:
    """Kept as ``RUN.rounds.json`` in ``folder``, written before a round is trained."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def count(self, request: TrainRequest) -> None:
        """Note a request; the same one may come again as often as it likes.

        Raises:
            DisclosureError: the round was trained on too many different parameters.
        """
        path = self._folder / f"{request.run}.rounds.json"
        held: dict[str, list[str]] = json.loads(path.read_text()) if path.exists() else {}
        starts = held.setdefault(str(request.round), [])
        asked = digest(request.parameters)
        if asked in starts:
            return
        if len(starts) >= MOST_STARTS:
            raise DisclosureError(
                f"round {request.round} of run {request.run} was trained on {MOST_STARTS} different models",
                remedy="make a plan for a new run",
            )
        starts.append(asked)
        write_json(path, held)
