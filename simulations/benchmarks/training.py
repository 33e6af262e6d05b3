"""What the federation costs over the training itself.

A: the inline run, through Flower's messages, the silos' workspaces, the gate, the mean and the checkpoint.
B: the loop of ``plain_loop`` over the same batches, its arrays in memory before the clock starts.
A and B take turns, and must end with the same weights: else they would not have done the same work.
"""

from __future__ import annotations

import datetime
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from common.cohort.schema import Purpose
from common.cohort.store import load
from common.errors import CohortError, TrainingError
from common.learning.data import TrainingData
from common.records import Parameters
from simulations.benchmarks.bench import Bench, Measured
from simulations.benchmarks.clock import Samples
from simulations.benchmarks.plain_loop import train_plainly
from simulations.engines.inline import run_inline
from simulations.modes import Training
from simulations.prepare import silo_names
from simulations.scenario import Scenario
from simulations.silos import RunSilos

LARGEST_DIFFERENCE = 1e-4


@dataclass(frozen=True)
class Outcome:
    """One training. ``rounds``: CPU-seconds of each round, the first with all that precedes it."""

    parameters: Parameters
    rounds: tuple[float, ...]

    @property
    def seconds(self) -> float:
        return sum(self.rounds)

    @property
    def later(self) -> float:
        """CPU-seconds of the rounds after the first, which computes what the others reuse."""
        return sum(self.rounds[1:])


def measure(bench: Bench) -> Measured:
    """``overhead_vs_plain``: CPU-seconds of the federated run over those of the plain loop, less 1.

    Raises:
        TrainingError: the two did not end with the same weights, or no round could be held.
    """
    data = training_data(bench)
    _warm_up(bench, data)
    runs: list[Outcome] = []
    loops: list[Outcome] = []
    for number in range(1, bench.repeat + 1):
        bench.say(f"training, repetition {number} of {bench.repeat}: federated, then plain")
        runs.append(federated(bench, bench.scenario, number))
        loops.append(plain(bench, bench.scenario, data))
    difference = max(largest_difference(a, b) for a, b in zip(runs, loops, strict=True))
    if not difference <= LARGEST_DIFFERENCE:
        raise TrainingError(
            f"the federated run and the plain loop ended {difference:.1e} apart: not the same work",
            remedy="leave out max_update_norm and patient_cap, which the plain loop does not know",
        )
    return _compared(bench, runs, loops, difference)


def training_data(bench: Bench) -> dict[str, TrainingData]:
    """Each silo's training photos, as arrays."""
    protocol = bench.cohort.protocol
    if protocol is None:
        raise CohortError("the cohort has no split", remedy="use a cohort with splits")
    return {name: _arrays(bench, name) for name in silo_names(protocol)}


def federated(bench: Bench, scenario: Scenario, number: int) -> Outcome:
    """The run as ``phenofed simulate`` leads it; silos open their workspaces anew."""
    cohort = bench.cohort
    assert cohort.protocol is not None
    training = Training(scenario, bench.run, silo_names(cohort.protocol), bench.pool)
    run = replace(training.coordination(), folder=bench.folder / f"checkpoints-{number}")
    marks = [time.process_time()]
    last = run_inline(
        run,
        RunSilos(bench.run.path, scenario.threads, pool=bench.pool),
        on_round=lambda checkpoint: marks.append(time.process_time()),
    )
    return Outcome(last.parameters, tuple(np.diff(marks).tolist()))


def plain(bench: Bench, scenario: Scenario, data: Mapping[str, TrainingData]) -> Outcome:
    """The plain loop over arrays that are in memory already."""
    pool = bench.pool
    model = pool.model(scenario.backbone, scenario.training)
    initial = {
        path: torch.from_numpy(value) for path, value in pool.initial(scenario.backbone, scenario.training).items()
    }
    marks = [time.process_time()]
    weights = train_plainly(
        model,
        initial,
        data,
        scenario.training,
        scenario.seed,
        on_round=lambda: marks.append(time.process_time()),
    )
    return Outcome({path: value.numpy() for path, value in weights.items()}, tuple(np.diff(marks).tolist()))


def largest_difference(one: Outcome, other: Outcome) -> float:
    """The largest absolute difference between two parameters of one path; NaN where one is not finite."""
    if set(one.parameters) != set(other.parameters):
        return float("inf")
    return float(np.max([np.abs(value - other.parameters[path]).max() for path, value in one.parameters.items()]))


def _warm_up(bench: Bench, data: Mapping[str, TrainingData]) -> None:
    """Both ways once, briefly: what a process loads at its first training belongs to neither."""
    plan = bench.scenario.training
    brief = plan.model_copy(update={"rounds": 1, "epochs": 1, "cached_views": min(2, plan.cached_views)})
    short = bench.scenario.model_copy(update={"training": brief})
    federated(bench, short, 0)
    plain(bench, short, data)


def _arrays(bench: Bench, silo: str) -> TrainingData:
    stored = load(bench.run.silo(silo) / "cohort")
    cohort = stored.cohort.for_purpose(Purpose.TRAIN, datetime.date.today())
    patients = [patient for patient in cohort.patients if patient.syndrome is not None and patient.photos]
    labels = {key: index for index, key in enumerate(sorted({str(patient.syndrome) for patient in patients}))}
    rows = [
        (stored.crop(photo.id), labels[str(patient.syndrome)], index)
        for index, patient in enumerate(patients)
        for photo in patient.photos
    ]
    crops, classes, owners = zip(*rows, strict=True)
    return TrainingData(np.stack(crops), np.array(classes, dtype=np.int64), np.array(owners, dtype=np.int64))


def _compared(bench: Bench, runs: list[Outcome], loops: list[Outcome], difference: float) -> Measured:
    a, b = Samples(tuple(run.seconds for run in runs)), Samples(tuple(loop.seconds for loop in loops))
    pairs = [one.seconds / other.seconds - 1 for one, other in zip(runs, loops, strict=True)]
    figures = {
        "overhead_vs_plain": a.median / b.median - 1,
        "overhead_lowest": min(pairs),
        "overhead_highest": max(pairs),
        "federated_cpu_s": a.median,
        "plain_cpu_s": b.median,
        "largest_weight_difference": difference,
        "training_rounds": float(bench.scenario.training.rounds),
        "training_repetitions": float(bench.repeat),
    }
    rows = [
        ("whole training, CPU-s", f"{a.median:.3f}", f"{b.median:.3f}", f"{figures['overhead_vs_plain']:+.1%}"),
        ("  least .. most", a.spread, b.spread, f"{min(pairs):+.1%} .. {max(pairs):+.1%}"),
    ]
    if bench.scenario.training.rounds > 1:
        late_a, late_b = (statistics.median(item.later for item in items) for items in (runs, loops))
        figures["overhead_after_first_round"] = late_a / late_b - 1
        rows.append(("  rounds after the first", f"{late_a:.3f}", f"{late_b:.3f}", f"{late_a / late_b - 1:+.1%}"))
    same = "bit-identical" if difference == 0 else f"at most {difference:.1e} apart"
    return Measured(
        figures,
        ("", "federated", "plain loop", "overhead"),
        tuple(rows),
        (
            f"Final weights {same}.",
            f"{bench.scenario.training.rounds} rounds, {bench.repeat} repetitions in turns, overhead of medians.",
        ),
    )
