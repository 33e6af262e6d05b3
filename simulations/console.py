"""What a person sees in the terminal: progress bars, and the table of a run's results."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Table

from simulations.progress import Advance

LIMITS = (
    "These figures show that the pipeline works and how the modes compare on this cohort. They do not show "
    "clinical accuracy. Research use only; not a medical device."
)


ORDER = ("pretrained", "local", "federated", "centralised", "encrypted")


class Bars:
    """Progress bars on standard error, one a stage, so that standard output stays for results."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = RichProgress(
            TextColumn("{task.description:<28}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(compact=True),
            console=console,
        )

    def __enter__(self) -> Bars:
        if self._console.is_terminal:
            self._bars.start()
        return self

    def __exit__(self, *details: object) -> None:
        if self._console.is_terminal:
            self._bars.stop()

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Advance]:
        task = self._bars.add_task(name, total=total)
        started = time.monotonic()
        yield lambda steps: self._bars.update(task, advance=steps)
        self._bars.update(task, completed=total)
        if not self._console.is_terminal:  # a log file shows no bars, but wants to know where a run stands
            self._console.print(f"{name}: {time.monotonic() - started:.1f} s", highlight=False)

    def say(self, line: str) -> None:
        self._console.print(line)


def results_table(results: dict[str, Any]) -> Table:
    """Macro top-1, 5 and 10 in percent by mode and setting, the federated row marked."""
    metrics: dict[str, Any] = dict(results["metrics"])
    encrypted = results.get("encrypted")
    if encrypted and encrypted["metrics"]:
        metrics["encrypted"] = encrypted["metrics"]
    settings = [s for s in ("F/F", "R/R", "F/both", "R/both") if any(s in m for m in metrics.values())]
    table = Table(
        title=f"Macro top-1/5/10 in percent, scorer '{results['scorer']}', by test/gallery",
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,  # four settings must fit into 80 columns
        padding=(0, 1, 0, 0),
        caption="encrypted: the federated model with the scorer 'encryptable'" if "encrypted" in metrics else None,
    )
    table.add_column("mode", no_wrap=True)
    for setting in settings:
        classes = max(int(m[setting]["classes"]) for m in metrics.values() if setting in m)
        table.add_column(f"{setting}\n{classes} syndromes", justify="right", no_wrap=True)
    for mode in (name for name in ORDER if name in metrics):
        by_setting = metrics[mode]
        cells = [_cell(by_setting.get(setting)) for setting in settings]
        table.add_row(mode, *cells, style="bold" if mode == "federated" else None)
    return table


def show_results(console: Console, folder: Path, results: dict[str, Any]) -> None:
    """The table, what encryption changed, the limits, and where the report lies."""
    console.print(results_table(results))
    encrypted = results.get("encrypted")
    if encrypted:
        console.print(
            f"Encrypted against clear: {encrypted['queries']} queries, largest difference "
            f"{encrypted['max_abs_error']:.1e}, same top-10 in {encrypted['top10_agreement']:.0%}, "
            f"{encrypted['seconds_per_query']:.2f} s a query."
        )
    for note in results["notes"]:
        console.print(f"Note: {note}", highlight=False)
    if results["refused"]:
        console.print(f"{len(results['refused'])} rows or photos were refused; see 'refused' in results.json.")
    console.print(LIMITS, style="dim")
    console.print(f"Report: {folder / 'report.html'}", highlight=False, soft_wrap=True)


def _cell(figures: dict[str, float] | None) -> str:
    if figures is None:
        return "-"
    return "/".join(f"{100 * figures[f'top{k}']:.1f}" for k in (1, 5, 10))
