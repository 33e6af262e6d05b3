"""``phenofed coordinator``: run the relay, look at it, and lead runs (server.training.cli)."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from common.json_logs import LogFormat, start_logging
from server.training.cli import add_to

_COORDINATOR = (
    "Run the consortium's relay, which passes sealed messages between hospitals and holds no key of theirs, and "
    "lead training."
)
_EPILOG = (
    "Exit codes: 0 done, 2 wrong usage, 3 settings or roster, 7 a run, 9 its folder, 11 the relay, 130 ended by "
    "Ctrl-C or SIGTERM."
)

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The relay's folder, with relay.yaml.")]
LogOption = Annotated[bool, typer.Option("--log", help="Log connections, sizes and times to standard error.")]


def register(app: typer.Typer) -> None:
    """Add ``coordinator`` and its commands to the application."""
    coordinator = typer.Typer(help=_COORDINATOR, no_args_is_help=True, epilog=_EPILOG)
    coordinator.command("up", epilog=_EPILOG)(up)
    coordinator.command("status", epilog=_EPILOG)(status)
    add_to(coordinator)
    app.add_typer(coordinator, name="coordinator")


def up(
    folder: Folder,
    log: LogOption = False,
    log_format: Annotated[
        LogFormat, typer.Option(help="json: one object a line, for log collectors; implies --log.")
    ] = LogFormat.TEXT,
) -> None:
    """Run the relay until Ctrl-C or SIGTERM.

    A new roster.json in FOLDER takes effect within a second, with no restart.

    Example: phenofed coordinator up relay
    """
    # gRPC reads it when it is loaded, and would print a line for every stranger who knocks.
    os.environ.setdefault("GRPC_VERBOSITY", "INFO" if log and log_format is LogFormat.TEXT else "NONE")
    from server.relay.running import running, watch

    if log or log_format is LogFormat.JSON:
        start_logging(log_format, verbose=True)
    console = Console(soft_wrap=True, highlight=False)
    with running(folder) as (relay, roster):
        members = len(roster.roster.members)
        console.print(
            f"relay of {roster.roster.consortium} ready on port {relay.port}: "
            f"{members} members, roster {roster.roster.sequence}",
            markup=False,
        )
        watch(relay, roster, stop=threading.Event(), say=lambda text: console.print(text, markup=False))


def status(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="The relay's folder, or one run's below its runs/.")
    ],
    watch: Annotated[bool, typer.Option("--watch", help="Draw it anew every two seconds, until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="One line and an exit code for health checks: of the relay, or of the run of FOLDER."
        ),
    ] = False,
) -> None:
    """Show which hospitals are connected, what passed since the relay began, and how the runs stand.

    Ends with 11 if no relay runs from FOLDER; its runs are shown all the same. With --check, of a run: 7 if it
    stopped, stalls or is not led, 9 if the process that led it ended without saying so.

    Example: phenofed coordinator status relay --watch
    """
    from common.live_view import watch as watched
    from server import status as view

    if check:
        typer.echo(view.check(folder))
        return
    if watch:
        watched(lambda: view.drawn(view.overview(folder)))
        return
    found = view.overview(folder)
    if as_json:
        typer.echo(json.dumps(view.as_json(found), indent=1))
    else:
        Console().print(view.drawn(replace(found, relay_error=None)))
    if found.relay_error is not None:
        raise found.relay_error
