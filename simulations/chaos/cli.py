"""``phenofed poc chaos``: hurt a consortium of real processes on purpose, and measure what becomes of its runs."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer


def chaos(
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where results and the table go.")],
    seeds: Annotated[int, typer.Option(min=1, max=10_000, help="How many seeds.")] = 20,
    first: Annotated[int, typer.Option(min=0, help="The first seed.")] = 0,
    faults: Annotated[
        str, typer.Option(help="Names of faults of processes, separated by commas; see --list.")
    ] = "all",
    each: Annotated[int, typer.Option(min=1, max=16, help="Faults of processes in one run.")] = 3,
    silos: Annotated[int, typer.Option(min=4, max=16, help="Hospitals.")] = 4,
    deadline: Annotated[int, typer.Option(min=5, max=600, help="Seconds that a round waits for updates.")] = 20,
    document: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Put the table into this Markdown file, between its marks.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the consortium's folder with its logs.")] = False,
    listed: Annotated[bool, typer.Option("--list", help="List the faults and exit.")] = False,
) -> None:
    """Kill, cut, fill, damage and falsify while a consortium trains, and check what comes of it.

    A seed is a run over real processes on loopback that meets a few faults, drawn by the seed, and a run in which
    a message of each round is altered. What is done already in FOLDER is not done again. Ends with 1 if a goal is
    missed. Ctrl-C ends all processes that were started.

    Example: phenofed poc chaos --out runs/chaos --seeds 20
    """
    from common.consortium.console import say
    from simulations.chaos.campaign import run_seeds
    from simulations.chaos.faults import MESSAGE_FAULTS, PROCESS_FAULTS, chosen
    from simulations.chaos.table import goals_missed, markdown, put_into

    if listed:
        for name, what in (*PROCESS_FAULTS.items(), *MESSAGE_FAULTS.items()):
            say(f"{name}: {what}")
        return
    signal.signal(signal.SIGTERM, _interrupted)
    found = run_seeds(
        out.resolve(),
        range(first, first + seeds),
        chosen(faults),
        silos=silos,
        each=each,
        deadline=deadline,
        keep_logs=keep,
        say=say,
    )
    typer.echo(markdown(found))
    if document is not None:
        put_into(document, found)
    missed = goals_missed(found)
    for line in missed:
        say(f"missed: {line}")
    if missed:
        raise typer.Exit(1)


def _interrupted(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
