"""A plan in a few lines for whoever decides on it, with what this hospital's policy makes of it."""

from __future__ import annotations

from collections.abc import Iterator

from client.plans.terms import Terms
from client.workspace.policy import SiloPolicy
from client.workspace.workspace import Workspace
from common.consortium.plan import RunPlan
from common.errors import PhenofedError


def summary(plan: RunPlan, workspace: Workspace) -> Iterator[str]:
    """The lines."""
    training = plan.training
    refusals = (
        f"it goes on with at least {plan.go_on_with_at_least}"
        if plan.go_on_with_at_least
        else "one refusal stops it"
    )
    yield f"run {plan.run} of {plan.consortium}, for {plan.stated_purpose}"
    yield f"photos of patients who agreed to: {plan.purpose}; nothing after {plan.expires}"
    yield f"hospitals: {', '.join(plan.silos)}; {refusals}"
    yield f"{training.rounds} rounds of {training.epochs} passes, each with {max(2, plan.quorum)} updates or none"
    yield f"model: {plan.model.architecture}, SHA-256 {plan.model.sha256}"
    yield f"begins from: {plan.parent or 'the backbone as it came'}"
    try:
        policy = workspace.policy()
        yield _sent(plan, policy)
        Terms(workspace).check(plan, policy)
        yield "this hospital's policy allows it"
    except PhenofedError as error:
        yield f"this hospital's policy does not allow it: {error}"


def _sent(plan: RunPlan, policy: SiloPolicy) -> str:
    bound, cap = policy.training.norm_bound(plan), policy.training.patient_cap
    norm = "not clipped" if bound is None else f"clipped to the norm {bound:g}"
    return f"an update is {norm}; it states {'all patients' if cap is None else f'at most {cap} patients'}"
