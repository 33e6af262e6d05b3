"""The steps in their order, as policy and plan set them."""

from __future__ import annotations

from collections.abc import Sequence

from client.training.postprocessors.cap import PatientCap
from client.training.postprocessors.clip import Clip
from client.training.postprocessors.step import Fact, Postprocessor, Treated
from client.workspace.training_policy import Training
from common.consortium.plan import RunPlan
from common.records import Update


def steps(floors: Training, plan: RunPlan) -> tuple[Postprocessor, ...]:
    """The steps for a round of ``plan``. Clipping stands before noise or masks, which need its bound."""
    return PatientCap(floors.patient_cap), Clip(floors.norm_bound(plan))


def postprocessed(update: Update, order: Sequence[Postprocessor]) -> Treated:
    """The update after all steps, and what all of them tell.

    Raises:
        TrainingError: a step lets nothing pass.
    """
    facts: dict[str, Fact] = {}
    for step in order:
        treated = step(update)
        update, facts = treated.update, facts | dict(treated.facts)
    return Treated(update, facts)
