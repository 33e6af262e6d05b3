"""The ``phenofed`` command: finds its sub-commands by entry point and turns errors into one line.

Each folder registers its own commands under the group ``phenofed.commands``: a callable that takes the typer
application. What is not installed is not offered.
"""

from __future__ import annotations

import importlib.metadata
import signal
import sys
from typing import Any

import typer
from rich.console import Console

from common.errors import PhenofedError
from common.help_text import refold
from common.quiet import be_quiet
from common.versions import SOFTWARE

GROUP = "phenofed.commands"
INTERRUPTED = 130
INTERRUPTED_TEXT = "interrupted; nothing that was finished is lost"

HELP = "Federated facial phenotyping of rare genetic syndromes."
EPILOG = (
    "Exit codes: 0 done, 2 wrong usage, 3 settings, 4 cohort, 5 photo, 6 weights, 7 training, 8 encryption, "
    "9 run folder, 10 disclosure refused, 11 relay, 12 agent, 13 versions, 14 Flower, 130 interrupted. "
    "Research use only; not a medical device."
)


def application() -> typer.Typer:
    """The command with every installed sub-command."""
    app = typer.Typer(
        name="phenofed",
        help=HELP,
        epilog=EPILOG,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(help=HELP)(_options)
    for point in sorted(importlib.metadata.entry_points(group=GROUP), key=lambda point: point.name):
        point.load()(app)
    refold(app)
    return app


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"phenofed {SOFTWARE}")
        raise typer.Exit


def _options(
    version: bool = typer.Option(
        False, "--version", help="Print the version and exit.", callback=_version, is_eager=True
    ),
) -> None:
    """Options that stand before a sub-command."""


def main() -> None:
    """Run the command line; exit with the code that the error class documents."""
    be_quiet()
    # A service manager ends a process with SIGTERM: leave by the same way as Ctrl-C.
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(_run())


def _run() -> int:
    console = Console(stderr=True)
    try:
        result = application()(standalone_mode=False)
    except typer.Exit as stop:
        return int(stop.exit_code)
    except PhenofedError as error:
        return _say(console, str(error), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return _say(console, INTERRUPTED_TEXT, INTERRUPTED)
    except Exception as error:
        # click's errors carry an exit code and print themselves; anything else is a bug and keeps its traceback.
        if hasattr(error, "exit_code") and hasattr(error, "show"):
            error.show()
            return int(error.exit_code)
        raise
    # typer turns Ctrl-C into a return value, and click gives the exit code of a command that calls for one.
    if result == INTERRUPTED:
        return _say(console, INTERRUPTED_TEXT, INTERRUPTED)
    return result if isinstance(result, int) else 0


def _say(console: Console, text: str, code: int) -> int:
    console.print("[bold red]phenofed:[/]", text.replace("\n", " "), highlight=False, soft_wrap=True)
    return code


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt
