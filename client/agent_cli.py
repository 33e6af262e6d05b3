"""``phenofed silo up|status|budget|keys|epoch``: run the hospital's agent, and ask it."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from common.errors import AgentError
from common.json_logs import LogFormat, start_logging

Folder = Annotated[
    Path, typer.Argument(envvar="PHENOFED_WORKSPACE", help="The silo's workspace.", metavar="WORKSPACE")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class KeyAction(StrEnum):
    """What is done with the hospital's query keys."""

    SHOW = "show"
    ROTATE = "rotate"
    WIPE = "wipe"


def add_to(silo: typer.Typer) -> None:
    """Offer the agent's commands under ``phenofed silo``."""
    for command in (up, status, budget, keys, epoch, down):
        silo.command()(command)


def up(
    workspace: Folder,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Worker processes for encrypted answers.")] = 2,
    verbose: Annotated[bool, typer.Option(help="Log every request, by user and topic; never a patient.")] = False,
    log_format: Annotated[LogFormat, typer.Option(help="json: one object a line, for log collectors.")] = (
        LogFormat.TEXT
    ),
) -> None:
    """Run the silo's agent until Ctrl-C: answer other hospitals, and serve phenofed rank here.

    One outbound connection to the relay; nothing listens on the network.
    """
    from client.agent import Agent
    from client.workspace.workspace import Workspace

    home = Workspace(workspace)
    start_logging(log_format, verbose=verbose, silo=home.name)
    console = Console(stderr=True)
    agent = Agent(home, workers=workers)
    try:
        agent.start()
        if log_format is LogFormat.TEXT:
            console.print(f"The agent of {agent.workspace.name} serves. Stop it with Ctrl-C.", highlight=False)
        agent.wait()
    finally:
        agent.close()


def status(
    workspace: Folder,
    as_json: AsJson = False,
    watch: Annotated[bool, typer.Option("--watch", help="Draw it anew every two seconds, until Ctrl-C.")] = False,
    check: Annotated[
        bool,
        typer.Option("--check", help="One line, and exit code 12 if the agent is not well; for health checks."),
    ] = False,
) -> None:
    """Show whether the agent is connected, who is there, and which gallery epoch is open."""
    from client.monitoring.health import ailing_by
    from client.monitoring.status_table import status_table
    from common.live_view import watch as watched

    if check:
        if wrong := ailing_by(_call(workspace, "status")):
            raise AgentError(f"the agent is not well ({wrong})", remedy="see phenofed silo status and silo check")
        typer.echo("the agent serves and is connected")
    elif as_json:
        typer.echo(json.dumps(_call(workspace, "status"), indent=1))
    elif watch:
        watched(lambda: status_table(_call(workspace, "status")))
    else:
        Console().print(status_table(_call(workspace, "status")))


def budget(workspace: Folder, as_json: AsJson = False) -> None:
    """Forecast when each hospital's budget of questions is used up, and say what is left for this one."""
    answer = _call(workspace, "budget")
    if as_json:
        typer.echo(json.dumps(answer, indent=1))
        return
    console, limit = Console(), answer["queries_a_year"]
    left = "no limit" if answer["left_to_ask"] is None else f"{answer['left_to_ask']} questions"
    console.print(
        f"Profile {answer['profile']}: {limit or 'no limit of'} questions a hospital, syndrome and rolling year. "
        f"Left to ask from here: {left}.",
        highlight=False,
    )
    table = Table("hospital", "syndrome first used up", "left", "a day", "used up on")
    for item in answer["queriers"]:
        table.add_row(
            item["querier"],
            item["lineage"],
            str(item["remaining"]),
            f"{item['a_day']:.2f}",
            item["exhausted"] or "not within a year",
        )
    console.print(table if answer["queriers"] else "Nobody has asked this silo yet.")


def keys(
    workspace: Folder,
    action: Annotated[KeyAction, typer.Argument(help="show, rotate or wipe.")] = KeyAction.SHOW,
    as_json: AsJson = False,
) -> None:
    """Show, rotate or wipe the homomorphic keys that this hospital asks with."""
    answer = _call(workspace, "keys", action=action.value)["keys"]
    if as_json:
        typer.echo(json.dumps(answer, indent=1))
    elif answer is None:
        typer.echo("There are no query keys; the next question makes them.")
    else:
        typer.echo(f"Query keys {answer['number']}, made on {answer['made']}\n{answer['words']}")


def epoch(workspace: Folder) -> None:
    """Open a gallery epoch now, with the hospitals that are present, before the weekly one is due."""
    answer = _call(workspace, "epoch")
    typer.echo(f"Gallery epoch {answer['number']} is open with {', '.join(answer['silos'])}.")
    for name, why in answer["left_out"].items():
        typer.echo(f"Left out: {name}, since {why}.")
    if answer["waiting"]:
        names = ", ".join(answer["waiting"])
        typer.echo(
            f"Waiting: {names}, to be summed once a release is new or enough others join; it may ask already."
        )


def down(workspace: Folder) -> None:
    """Stop the agent of this workspace."""
    _call(workspace, "stop")
    typer.echo("The agent stops.")


def _call(folder: Path, operation: str, **values: Any) -> dict[str, Any]:
    from client.local.clinic_door import door_at
    from client.local.door import call

    return call(door_at(folder), operation, values)
