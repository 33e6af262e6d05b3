"""``phenofed silo plans`` and ``phenofed silo train-node``: decide on runs, and carry their messages."""

from __future__ import annotations

import json
import os
import pwd
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from common.errors import ConfigError

if TYPE_CHECKING:
    from client.plans.shelf import PlanShelf

_HELP = """Decide on runs that the hospital is asked to train in.

Nothing trains here without an approved plan; refuse takes an approval back at once."""
_EPILOG = "Exit codes: 0 done, 2 wrong usage, 3 refused plan, 8 keys, 10 the policy forbids it, 12 workspace."

Folder = Annotated[Path, typer.Argument(metavar="WORKSPACE", help="The silo's folder.")]
Run = Annotated[str, typer.Argument(metavar="RUN", help="The run's name.")]


def register(silo: typer.Typer) -> None:
    """Offer the commands under ``phenofed silo``."""
    plans = typer.Typer(help=_HELP, no_args_is_help=True, epilog=_EPILOG)
    plans.command("list", epilog=_EPILOG)(held)
    for command in (add, show, approve, refuse):
        plans.command(epilog=_EPILOG)(command)
    silo.add_typer(plans, name="plans")
    silo.command("train-node", epilog=_EPILOG)(train_node)


def held(folder: Folder) -> None:
    """List the plans that lie here, and what was decided on them."""
    import datetime

    from common.consortium.console import show_table

    rows = [
        (
            one.plan.run,
            one.state(datetime.date.today()),
            one.decision.by if one.decision else "",
            str(len(one.plan.silos)),
            str(one.plan.training.rounds),
            str(one.plan.expires),
        )
        for one in _shelf(folder).all()
    ]
    show_table("plans", ("run", "state", "by", "silos", "rounds", "until"), rows)


def add(
    folder: Folder, plan: Annotated[Path, typer.Argument(metavar="PLAN", help="The file that the operator sent.")]
) -> None:
    """Take in a plan, once its signature holds; with approvals.train automatic it is approved at once.

    Example: phenofed silo plans add workspace spring.json
    """
    from client.audit.opening import written_down
    from client.plans.deciding import approve_by_policy
    from client.workspace.workspace import Workspace
    from common.consortium.console import read_file, say
    from common.consortium.plan import MAX_BYTES

    workspace = Workspace(folder)
    with written_down(workspace, "plan.add", run=plan.stem):
        taken = _shelf(folder).add(read_file(plan, limit=MAX_BYTES))
    say(f"took in the plan of run {taken.plan.run}, digest {taken.plan.digest[:12]}")
    path = approve_by_policy(workspace, taken)
    if path is not None:
        say(f"approved by policy; send {path} to the operator")
    else:
        say(f"next: phenofed silo plans show {folder} {taken.plan.run}, then approve or refuse")


def show(folder: Folder, run: Run) -> None:
    """Show a plan in full."""
    import datetime

    from client.plans.summary import summary
    from client.workspace.workspace import Workspace
    from common.consortium.console import say

    found = _shelf(folder).find(run)
    for line in summary(found.plan, Workspace(folder)):
        say(line)
    said = json.dumps(found.plan.model_dump(mode="json"), indent=1)
    for line in said.splitlines():
        say(line)
    say(f"digest {found.plan.digest}")
    by = f" by {found.decision.by} at {found.decision.at.isoformat()}" if found.decision else ""
    say(f"{found.state(datetime.date.today())}{by}")


def approve(
    folder: Folder,
    run: Run,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask at the terminal.")] = False,
) -> None:
    """Approve a run, and make the file that the operator needs. Your name goes into the record.

    Shows what is approved, and asks where somebody is at the terminal.

    Example: phenofed silo plans approve workspace spring
    """
    from client.audit.opening import written_down
    from client.plans.deciding import approve_plan
    from client.plans.summary import summary
    from client.workspace.workspace import Workspace
    from common.consortium.console import say

    workspace = Workspace(folder)
    with written_down(workspace, "plan.approve", run=run, by="hand"):
        for line in summary(_shelf(folder).find(run).plan, workspace):
            say(line)
        if not yes and sys.stdin.isatty() and not typer.confirm(f"Approve run {run}?", err=True):
            raise ConfigError(
                "not approved; nothing was changed", remedy="refuse it with phenofed silo plans refuse"
            )
        path = approve_plan(workspace, run, by=_user())
    say(f"approved run {run}; send {path} to the operator")
    say(f"the agent starts the node by itself; without it: phenofed silo train-node {folder / 'node'}")


def refuse(folder: Folder, run: Run) -> None:
    """Refuse a run, or take an approval back: from now on no round of it is trained here."""
    from client.audit.opening import written_down
    from client.workspace.workspace import Workspace
    from common.consortium.console import say

    with written_down(Workspace(folder), "plan.refuse", run=run):
        _shelf(folder).refuse(run, by=_user())
    say(f"refused run {run}")


def train_node(
    folder: Annotated[Path, typer.Argument(metavar="NODE", help="The node's folder, WORKSPACE/node.")],
) -> None:
    """Run the hospital's Flower node until Ctrl-C, where it is a service of its own.

    It may run as a user who can read nothing of the workspace but this folder and the agent's training socket.

    Example: phenofed silo train-node workspace/node
    """
    from client.training.node import serve
    from common.consortium.console import say

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    say(f"the node of {folder} serves; stop it with Ctrl-C")
    serve(folder.resolve(), stop)


def _shelf(folder: Path) -> PlanShelf:
    from client.plans.shelf import PlanShelf
    from client.workspace.workspace import Workspace

    return PlanShelf(Workspace(folder))


def _user() -> str:
    """The OS user, as the system knows it and not as the environment says."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"
