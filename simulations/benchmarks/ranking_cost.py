"""Cost against the number of prototypes: ``python -m simulations.benchmarks.ranking_cost PICTURE``.

Prints a table in Markdown and draws it. Times are CPU-time, so that a busy machine changes them little.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.encryption.layout import Layout
from common.encryption.sizes import answer_bytes
from simulations.benchmarks.measuring_process import MeasuringProcess

DIMENSION = 512
PROTOTYPES = (50, 300, 1000, 5000)
REPEAT = 5


@dataclass(frozen=True)
class Cost:
    """What one silo needs for one query over so many prototypes; milliseconds of CPU-time."""

    prototypes: int
    single_ms: float
    batched_ms: float
    mm_ms: float
    clear_ms: float
    down_bytes: int


def measure(prototypes: int) -> Cost:
    """The cost of a query alone, of one among eight in a ciphertext, of TenSEAL's ``mm``, and of numpy."""
    single, batch = Layout(DIMENSION, prototypes, 1), Layout(DIMENSION, prototypes, 8)
    with MeasuringProcess(single) as process:
        alone = _median(process.ask("answer", times=REPEAT + 1))
        other = 1000 * process.ask("mm")[1]
        clear = _median(process.ask("clear", times=50))
    with MeasuringProcess(batch) as process:
        together = _median(process.ask("answer", times=REPEAT + 1)) / batch.queries
    return Cost(prototypes, alone, together, other, clear, answer_bytes(single))


def markdown(costs: Sequence[Cost]) -> str:
    """The table."""
    lines = [
        "| prototypes | one query | one of a batch of 8 | `CKKSVector.mm` | numpy in clear | down |",
        "|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {cost.prototypes:,} | {cost.single_ms:.0f} ms | {cost.batched_ms:.1f} ms | {cost.mm_ms / 1000:.1f} s "
        f"| {cost.clear_ms:.2g} ms | {cost.down_bytes / 1000:.0f} kB |"
        for cost in costs
    ]
    return "\n".join(lines)


def draw(costs: Sequence[Cost], picture: Path) -> None:
    """The same as a plot."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    counts = [cost.prototypes for cost in costs]
    for label, values in (
        ("TenSEAL's CKKSVector.mm", [cost.mm_ms for cost in costs]),
        ("one query", [cost.single_ms for cost in costs]),
        ("one query of a batch of 8", [cost.batched_ms for cost in costs]),
        ("numpy in clear", [cost.clear_ms for cost in costs]),
    ):
        axes.loglog(counts, values, marker="o", label=label)
    axes.set(xlabel="prototypes", ylabel="CPU-milliseconds a query and silo", xticks=counts)
    axes.set_xticklabels([f"{count:,}" for count in counts])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    figure.legend(frameon=False, ncols=2, loc="outside upper center")
    figure.savefig(picture, dpi=120, metadata={"Software": None})


def _median(times: list[tuple[float, float]]) -> float:
    return 1000 * statistics.median(cpu for _, cpu in times[1:])


def main(arguments: Sequence[str]) -> None:
    """Measure, print, draw."""
    costs = [measure(prototypes) for prototypes in PROTOTYPES]
    print(markdown(costs))
    if arguments:
        draw(costs, Path(arguments[0]))


if __name__ == "__main__":
    main(sys.argv[1:])
