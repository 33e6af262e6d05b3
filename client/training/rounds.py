"""Which rounds a silo has trained: how often, and on which parameters, so that a run cannot be asked without end.

Each training on other parameters tells a little more of the same patients. A run that resumes asks for a round
again; more than that is no run.
"""

from __future__ import annotations

import json
from pathlib import Path

from common.errors import AgentError, DisclosureError
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
        held = _read(path)
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


def _read(path: Path) -> dict[str, list[str]]:
    try:
        return {str(round): list(starts) for round, starts in json.loads(path.read_text()).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise AgentError(f"{path} is damaged", remedy="restore it, or refuse the run") from error
