"""Approving a plan, by hand or by policy: equip the Flower node, sign the word for the operator."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path

from client.audit.opening import written_down
from client.plans.shelf import BY_POLICY, HeldPlan, PlanShelf
from client.training.node import NodeSettings, equip
from client.workspace.policy import SiloPolicy
from client.workspace.workspace import Workspace
from common.consortium.console import read_file

NODE, SOCKET = "node", "training.sock"
_MAX_CERTIFICATE = 1 << 16


def approve_plan(
    workspace: Workspace,
    run: str,
    *,
    by: str,
    today: Callable[[], datetime.date] = datetime.date.today,
) -> Path:
    """Approve the plan of ``run``; gives the approval's file.

    Raises:
        DisclosureError: the policy takes no part in training.
        ConfigError: there is no such plan, or it expired.
    """
    shelf, policy = PlanShelf(workspace, today), workspace.policy()
    plan = shelf.approvable(run)
    settings = NodeSettings(
        superlink=plan.superlink,
        agent=socket_of(workspace, policy),
        proxy=policy.relay.proxy,
        until=plan.expires,
    )
    authority = read_file(workspace.folder / "ca.pem", limit=_MAX_CERTIFICATE)
    return shelf.approve(run, by=by, node_key=equip(workspace.folder / NODE, settings, authority))


def socket_of(workspace: Workspace, policy: SiloPolicy) -> Path:
    """Where the agent listens for the node."""
    return policy.training.socket or (workspace.folder / SOCKET).resolve()


def approve_by_policy(workspace: Workspace, held: HeldPlan) -> Path | None:
    """Approve a plan on which nobody decided yet, where policy says so; else None."""
    policy = workspace.policy()
    if held.decision is not None or not policy.allow.train or policy.approvals.train != "automatic":
        return None
    with written_down(workspace, "plan.approve", run=held.plan.run, by=BY_POLICY):
        return approve_plan(workspace, held.plan.run, by=BY_POLICY)
