"""What a hospital asks of training: how its Flower node runs, and floors that a plan must meet.

Each floor is something that the hospital's own agent can hold by what it sends and by the signed plan. What it
cannot know, such as what the coordinator does with an update, no key here promises.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from common.config import Settings
from common.consortium.plan import RunPlan, Use
from common.errors import DisclosureError

Count = Annotated[int, Field(ge=1)]


class BelowFloor(DisclosureError):
    """A plan, or what there is to train on, that the hospital's floors keep out."""


class Training(Settings):
    """``node``: the Flower node is started by the agent, or is a service of its own.

    | key | meaning |
    |---|---|
    | socket | where the agent listens for the node, if not in the workspace |
    | group | the OS group that may open it, where the node runs as another user |
    | max_update_norm | Euclidean norm to which an update is clipped; the plan's, where that is smaller |
    | patient_cap | the most patients that an update states, which is its weight |
    | least_silos | hospitals without whose updates no round may count: the plan's quorum is at least this |
    | least_patients | fewer of one's own are not trained on |
    | most_rounds | of one run |
    | most_runs_a_year | begun within a rolling year |
    | uses | what a run may be for; a plan that does not say is refused then |
    """

    node: Literal["with-agent", "on-its-own"] = "with-agent"
    socket: Path | None = None
    group: str | None = None
    max_update_norm: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    patient_cap: Count | None = None
    least_silos: Annotated[int, Field(ge=2)] = 2
    least_patients: Count = 1
    most_rounds: Count | None = None
    most_runs_a_year: Annotated[int, Field(ge=0)] | None = None
    uses: Annotated[tuple[Use, ...], Field(min_length=1)] | None = None

    def check(self, plan: RunPlan) -> None:
        """Check a plan against the floors.

        Raises:
            BelowFloor: it does not meet them; every difference in one message.
        """
        rounds, quorum = plan.training.rounds, max(2, plan.quorum)
        problems = [
            what
            for what, wrong in (
                (
                    f"its rounds count with {quorum} hospitals, and at least {self.least_silos} are asked for",
                    quorum < self.least_silos,
                ),
                (
                    f"it has {rounds} rounds, and at most {self.most_rounds} are allowed",
                    self.most_rounds is not None and rounds > self.most_rounds,
                ),
                (
                    f"its use is {plan.use or 'not stated'}, and allowed is {' or '.join(self.uses or ())}",
                    self.uses is not None and plan.use not in self.uses,
                ),
            )
            if wrong
        ]
        if problems:
            raise BelowFloor(
                f"run {plan.run} is not what this hospital's policy allows: {'; '.join(problems)}",
                remedy="ask the operator for another plan, or see training in policy.yaml",
            )

    def norm_bound(self, plan: RunPlan) -> float | None:
        """The smaller of the hospital's bound and the plan's; None where neither has one."""
        bounds = [bound for bound in (self.max_update_norm, plan.max_update_norm) if bound is not None]
        return min(bounds, default=None)
