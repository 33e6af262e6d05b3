"""``phenofed coordinator``: run the relay, look at it, and lead runs (server.training.cli)."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from common.json_logs import LogFormat, start_logging
from server.training.cli import add_to

_COORDINATOR = (
    "Run the consortium's relay, which passes sealed messages between hospitals and holds no key of theirs, and "
    "lead training."
)
_EPILOG = "Exit codes: 0 done, 2 wrong usage, 3 settings or roster, 11 the relay, 130 ended by Ctrl-C or SIGTERM."

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
    folder: Folder,
    watch: Annotated[bool, typer.Option("--watch", help="Draw it anew every two seconds, until Ctrl-C.")] = False,
) -> None:
    """Show which hospitals are connected, and what passed since the relay began.

    Example: phenofed coordinator status relay
    """
    from common.live_view import watch as watched

    if watch:
        watched(lambda: _status_table(folder))
    else:
        Console().print(_status_table(folder))


def _status_table(folder: Path) -> Table:
    from server.relay.traffic import traffic

    table = Table("hospital", "connected", "requests", "MB sent", "MB waiting", "refusals")
    for silo in traffic(folder):
        megabytes = [f"{size / 1e6:.1f}" for size in (silo.bytes, silo.waiting)]
        state = "yes" if silo.connected else "no"
        table.add_row(silo.name, state, str(silo.requests), *megabytes, str(silo.refusals))
    return table
