"""The table of docs/reliability.md, out of the results of all seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from common.errors import ConfigError
from common.storage import write_text
from simulations.chaos.faults import MESSAGE_FAULTS, PROCESS_FAULTS
from simulations.chaos.results import FaultResult, SeedResult

GOAL_SECONDS = 30.0
BEGIN, END = "<!-- chaos: begin -->", "<!-- chaos: end -->"


def goals_missed(results: Sequence[SeedResult]) -> list[str]:
    """What did not hold, seed by seed, and the goal on recovery."""
    missed = [f"seed {result.seed}: {failure}" for result in results for failure in result.failures]
    slow = _percentile(_beyond(item for result in results for item in result.faults), 95)
    if slow is not None and slow > GOAL_SECONDS:
        missed.append(f"recovery p95 is {slow:.1f} s beyond Flower's own detection, not {GOAL_SECONDS:.0f} s")
    return missed


def markdown(results: Sequence[SeedResult]) -> str:
    """The whole table, with a line for each fault and one for all."""
    faults = [item for result in results for item in result.faults]
    lines = [
        "| fault | times | met | recovery s, p50 / p95 | of it Flower's own, p95 | beyond it, p95 |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    lines += [_row(name, [item for item in faults if item.fault == name]) for name in PROCESS_FAULTS]
    lines += [_row("**all**", faults), "", *_whole(results), "", *_messages(results)]
    return "\n".join(lines) + "\n"


def put_into(document: Path, results: Sequence[SeedResult]) -> None:
    """Replace what stands between the marks of a Markdown file by the table.

    Raises:
        ConfigError: it has no marks.
    """
    before, begin, rest = document.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ConfigError(f"{document} has no place for the table", remedy=f"write {BEGIN} and {END} into it")
    write_text(document, f"{before}{begin}\n{markdown(results)}{end}{after}")


def _row(name: str, items: Sequence[FaultResult]) -> str:
    if not items:
        return f"| {name} | 0 | | | | |"
    recovered = [item.recovery_s for item in items if item.recovery_s is not None]
    met = sum(not item.failed for item in items)
    cells = (
        f"{_text(_percentile(recovered, 50))} / {_text(_percentile(recovered, 95))}",
        _text(_percentile([item.waited_s for item in items], 95)),
        _text(_percentile(_beyond(items), 95)),
    )
    return f"| {name} | {len(items)} | {met} | " + " | ".join(cells) + " |"


def _whole(results: Sequence[SeedResult]) -> list[str]:
    runs = len(results)
    scanned = sum(sum(result.scanned.values()) for result in results)
    return [
        "| in all | |",
        "|---|---:|",
        f"| runs, of {_span(result.silos for result in results)} silos | {runs} |",
        f"| completed | {sum(result.completed for result in results)} |",
        f"| rounds asked for | {sum(result.rounds for result in results)} |",
        f"| rounds lost: discarded | {sum(result.rounds_discarded for result in results)} |",
        f"| rounds lost: trained again | {sum(result.rounds_repeated for result in results)} |",
        f"| starts of the coordinator | {sum(result.starts for result in results)} |",
        f"| rounds in which an update counted twice | {sum(result.counted_twice for result in results)} |",
        f"| equal to the bit after resuming | {sum(result.bit_equal for result in results)} |",
        f"| megabytes sent by silos that were scanned | {scanned / 1e6:.1f} |",
        f"| bytes of pixels, photos or embeddings in them | {sum(sum(r.leaked.values()) for r in results)} |",
        f"| runs in which the scan found what did travel | {sum(result.control_found for result in results)} |",
        f"| log files that name a patient or a photo | {sum(len(result.named_in) for result in results)} |",
        f"| minutes | {sum(result.seconds for result in results) / 60:.1f} |",
    ]


def _messages(results: Sequence[SeedResult]) -> list[str]:
    found = [item for result in results for item in result.messages]
    lines = ["| altered message | times | refused, and honest silos counted |", "|---|---:|---:|"]
    for name, what in MESSAGE_FAULTS.items():
        items = [item for item in found if item.fault == name]
        met = sum(not item.failed for item in items)
        lines.append(f"| {name}: {what} | {len(items)} | {met} |")
    equal = sum(result.messages_bit_equal for result in results)
    return [*lines, f"| runs of them that equal undisturbed ones to the bit | {len(results)} | {equal} |"]


def _beyond(items: Iterable[FaultResult]) -> list[float]:
    return [item.recovery_s - item.waited_s for item in items if item.recovery_s is not None]


def _percentile(values: Sequence[float], percent: float) -> float | None:
    return float(np.percentile(values, percent, method="inverted_cdf")) if values else None


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _span(values: Iterable[int]) -> str:
    found = sorted(set(values))
    return str(found[0]) if len(found) == 1 else f"{found[0]} to {found[-1]}"
