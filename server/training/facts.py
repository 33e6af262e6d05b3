"""What a led run says of its model: the plan that the operator signed, and who counted in which round."""

from __future__ import annotations

from pathlib import Path

from common.consortium.console import read_file
from common.consortium.plan import MAX_BYTES, RunPlan, read_plan
from common.consortium.succession import read_by
from common.errors import RunError
from common.releases.facts import CardFacts, SiloSize
from server import checkpoints
from server.checkpoints import RoundSummary
from server.relay.offline_keys import offline_keys
from server.relay.settings import read_settings

PHOTOS = "photographs of patients, which stayed in their hospitals"


def read_signed_plan(run: Path) -> RunPlan:
    """The plan of the run in ``run``, a folder of the coordinator; that it has expired by now is no matter.

    Raises:
        ConfigError: it is not signed by the consortium's offline key, or the relay's settings are missing.
    """
    settings = read_settings(run.resolve().parents[1])
    return read_by(offline_keys(settings).all, read_plan, read_file(run / "plan.json", limit=MAX_BYTES))


def facts_of_rounds(run: Path) -> CardFacts:
    """The card's facts. Who the patients are, and how well the model does, the coordinator does not know.

    Raises:
        RunError: there is no checkpoint, or it is damaged.
    """
    checkpoint = checkpoints.read(run)
    if checkpoint is None:
        raise RunError(f"{run} has no checkpoint", remedy="give the folder of a run that is done")
    counted = [summary for summary in checkpoint.history if not summary.discarded]
    return CardFacts(
        data=PHOTOS,
        silos=_sizes(counted),
        left_out=_left_out(checkpoint.history),
        discarded=len(checkpoint.history) - len(counted),
    )


def _sizes(counted: list[RoundSummary]) -> tuple[SiloSize, ...]:
    """As in the last round of each silo; patients come and go between rounds."""
    last = {silo: summary for summary in counted for silo in summary.patients}
    return tuple(
        SiloSize(silo, summary.patients[silo], summary.photos.get(silo, 0))
        for silo, summary in sorted(last.items())
    )


def _left_out(history: tuple[RoundSummary, ...]) -> dict[str, int]:
    names = sorted({silo for summary in history for silo in summary.excluded})
    return {silo: sum(silo in summary.excluded for summary in history) for silo in names}
