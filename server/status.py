"""What ``phenofed coordinator status`` shows: the relay and the runs of a folder, or one run; read only."""

from __future__ import annotations

import datetime
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from common.errors import RelayError, RunError, TrainingError
from common.versions import SOFTWARE
from server.relay.traffic import SiloTraffic, relay_ailing, traffic
from server.training.standing import NEEDING, RunStanding, Standing, run_folders, standing_of

VERSION = 1
_MOST_LETTERS = 1000
_GOOD = frozenset({Standing.WAITING, Standing.TRAINING, Standing.DONE, Standing.RELEASED})


@dataclass(frozen=True)
class Overview:
    """What there is. ``silos``: None where no relay answers or none was asked for; ``relay_error``: why not."""

    silos: list[SiloTraffic] | None
    relay_error: RelayError | None
    runs: list[RunStanding]


def overview(folder: Path) -> Overview:
    """The relay and the runs of the relay's ``folder``; or one run, where it is a run's.

    Raises:
        RunError: the folder is neither.
    """
    if (folder / "plan.json").is_file():
        return Overview(None, None, [standing_of(folder)])
    runs = [standing_of(path) for path in run_folders(folder)]
    try:
        return Overview(traffic(folder), None, runs)
    except RelayError as error:
        return Overview(None, error, runs)


def check(folder: Path) -> str:
    """Whether the relay of the folder, or the run whose folder it is, does its work now; in a line.

    Raises:
        RelayError: the relay does not run or is not well.
        TrainingError: the run stopped, stalls, or is not led.
        RunError: the process that led the run ended without saying so, or the folder cannot be read.
    """
    if not (folder / "plan.json").is_file():
        if (why := relay_ailing(folder)) is not None:
            raise RelayError(f"the relay is not well ({why})", remedy="see its log")
        return "the relay serves"
    run = standing_of(folder)
    line = f"run {run.run}, round {run.done} of {run.rounds}: {_words(run)}"
    if run.standing in (Standing.CRASHED, Standing.UNREADABLE):
        raise RunError(line)
    if run.standing not in _GOOD:
        raise TrainingError(line)
    return line


def as_json(found: Overview) -> dict[str, Any]:
    """For scripts."""
    silos = None if found.silos is None else [asdict(silo) for silo in found.silos]
    return {"version": VERSION, "silos": silos, "runs": [run.to_json() for run in found.runs]}


def drawn(found: Overview) -> RenderableType:
    """For people."""
    parts: list[RenderableType] = []
    if found.silos is not None:
        parts.append(_silos(found.silos))
    if found.runs:
        parts.append(_runs(found.runs))
    if found.relay_error is not None:
        parts.append(Text(str(found.relay_error), style="yellow"))
    return Group(*parts)


def _silos(silos: list[SiloTraffic]) -> Table:
    columns = ("hospital", "connected", "requests", "MB sent", "MB waiting", "refusals", "phenofed")
    table = Table(*columns, caption=f"this is phenofed {SOFTWARE}")
    for silo in silos:
        megabytes = [f"{size / 1e6:.1f}" for size in (silo.bytes, silo.waiting)]
        state = "yes" if silo.connected else "no"
        table.add_row(silo.name, state, str(silo.requests), *megabytes, str(silo.refusals), silo.software)
    return table


def _runs(runs: list[RunStanding]) -> Table:
    table = Table()
    for column in ("run", "plan", "round", "how it stands", "since (UTC)", "counted last", "did not, and why"):
        # A command to type is shown whole, however narrow the terminal is.
        table.add_column(column, overflow="fold", no_wrap=column in ("run", "plan", "round"))
    for run in runs:
        counted = sorted(run.last.losses) if run.last else []
        excluded = sorted(run.last.excluded.items()) if run.last else []
        style = "yellow" if run.standing in NEEDING else ""
        table.add_row(
            run.run,
            run.plan[:12],
            f"{run.done} of {run.rounds}",
            Text(_words(run), style=style),
            _day(run.since),
            ", ".join(counted),
            # What a hospital says is no markup of ours.
            Text("\n".join(f"{silo}: {_shown(why)}" for silo, why in excluded)),
        )
    return table


def _words(run: RunStanding) -> str:
    more = f", {run.discarded} discarded so far" if run.discarded and run.standing is Standing.TRAINING else ""
    led = (
        f" (process {run.state.pid})"
        if run.state and run.standing in (Standing.WAITING, Standing.TRAINING)
        else ""
    )
    return _shown(f"{run.what}{more}{led}")


def _day(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return datetime.datetime.fromtimestamp(seconds, tz=datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")


def _shown(text: str) -> str:
    return "".join(letter for letter in text if letter.isprintable())[:_MOST_LETTERS]
