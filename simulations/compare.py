"""Several finished runs side by side: one split and one seed each, means over seeds, intervals over both.

figures = compare([Path("runs/a-seed-0"), Path("runs/a-seed-1")])
print(markdown(figures))
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import RunError
from common.ranking.metrics import TOP
from common.ranking.scores import SCORERS
from simulations import accuracy, predictions
from simulations.folder import RunFolder

SETTINGS = ("F/F", "R/R", "F/both", "R/both")
MODES = ("pretrained", "local", "federated", "centralised")


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed alone.

    ``metrics``: scorer -> mode -> setting -> top-k, means over seeds. ``scorers``: what each seed's validation
    patients chose. ``chosen``: the same figures under each seed's own choice; ``intervals`` go with it.
    """

    title: str
    seeds: tuple[int, ...]
    scorers: tuple[str, ...]
    metrics: dict[str, accuracy.Table]
    chosen: accuracy.Table
    intervals: dict[str, dict[str, dict[str, list[float]]]]
    seconds: float


def compare(runs: Sequence[Path]) -> list[Group]:
    """Finished runs grouped by everything but their seed, in the order of the first of each group.

    Raises:
        RunError: a folder holds no finished run, or two runs of a group have the same seed.
    """
    groups: dict[str, list[RunFolder]] = defaultdict(list)
    for path in runs:
        folder = RunFolder(path)
        folder.read_results()
        groups[_key(folder)].append(folder)
    return [_group(folders) for folders in groups.values()]


def markdown(groups: Sequence[Group]) -> str:
    """Tables for a document: per cent, top-1/5/10, means over seeds with 95 % intervals of top-1 and top-10."""
    return "\n\n".join(_section(group) for group in groups) + "\n"


def _key(folder: RunFolder) -> str:
    scenario = folder.read_scenario().model_dump(mode="json", exclude={"seed"})
    return json.dumps(scenario, sort_keys=True)


def _group(folders: Sequence[RunFolder]) -> Group:
    results: list[dict[str, Any]] = [dict(folder.read_results()) for folder in folders]
    seeds = [int(one["seed"]) for one in results]
    if len(set(seeds)) < len(seeds):
        raise RunError(f"two runs have the same seed ({sorted(seeds)})", remedy="give each run once")
    scenario = folders[0].read_scenario()
    partition = getattr(scenario.cohort, "partition", scenario.cohort.kind)
    return Group(
        title=f"{scenario.name}, {partition}",
        seeds=tuple(seeds),
        scorers=tuple(str(one["scorer"]) for one in results),
        metrics={name: _mean([one["scorers"][name] for one in results]) for name in SCORERS},
        chosen=_mean([one["metrics"] for one in results]),
        intervals=_intervals(folders, results),
        seconds=float(np.mean([one["timing"]["train_s"] for one in results])),
    )


def _intervals(
    folders: Sequence[RunFolder], results: Sequence[dict[str, Any]]
) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Patients and seeds drawn anew: each seed's rows under its own chosen scorer, renamed to one."""
    rows = []
    for folder, one in zip(folders, results, strict=True):
        for row in predictions.read(folder.predictions):
            if row.scorer == one["scorer"] and row.setting != "validation" and row.mode != "encrypted":
                mode, _, model = row.mode.partition("/")
                rows.append(replace(row, scorer="chosen", mode=f"{mode}/{model}-seed-{one['seed']}"))
    return accuracy.intervals(rows, "chosen", seed=0)


def _mean(tables: Sequence[accuracy.Table]) -> accuracy.Table:
    first = tables[0]
    return {
        mode: {
            setting: {
                key: float(np.mean([one[mode][setting][key] for one in tables])) for key in first[mode][setting]
            }
            for setting in first[mode]
        }
        for mode in first
    }


def _section(group: Group) -> str:
    method = (
        f"Scorer chosen on validation patients: {', '.join(group.scorers)}. Mean over seeds; in brackets the 95 % "
        f"interval over patients, splits and seeds of top-1 and top-10. Training took {group.seconds:.0f} s a run."
    )
    lines = [
        f"### {group.title} (seeds {', '.join(map(str, group.seeds))})",
        "",
        method,
        "",
        "| mode | " + " | ".join(SETTINGS) + " |",
        "|---" * (len(SETTINGS) + 1) + "|",
    ]
    for mode in (mode for mode in MODES if mode in group.chosen):
        lines.append(f"| {mode} | " + " | ".join(_cell(group, mode, setting) for setting in SETTINGS) + " |")
    lines += ["", "All scorers, top-1/5/10:", "", "| scorer | mode | " + " | ".join(SETTINGS) + " |"]
    lines.append("|---" * (len(SETTINGS) + 2) + "|")
    for scorer, table in group.metrics.items():
        for mode in (mode for mode in MODES if mode in table):
            cells = [_plain(table[mode].get(setting)) for setting in SETTINGS]
            lines.append(f"| {scorer} | {mode} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(group: Group, mode: str, setting: str) -> str:
    figures = group.chosen[mode].get(setting)
    if figures is None:
        return "-"
    ends = group.intervals[mode][setting]
    low1, high1 = (100 * end for end in ends["top1"])
    low10, high10 = (100 * end for end in ends["top10"])
    return f"{_plain(figures)} [{low1:.0f}-{high1:.0f}; {low10:.0f}-{high10:.0f}]"


def _plain(figures: accuracy.Figures | None) -> str:
    return "-" if figures is None else "/".join(f"{100 * figures[f'top{k}']:.1f}" for k in TOP[:3])
