"""What a run should have come to: the same silos train the same rounds inline, from the same start.

Which silos trained a round is taken from what each keeps of it, who counted from the checkpoint's history: a silo
whose update never arrived has trained all the same, and its class rows went on from there.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from client.silo import Silo
from common.consortium.plan import RunPlan
from common.errors import RunError
from common.learning.assembly import ModelPool
from common.records import Parameters, TrainRequest, Update, applied, digest, norm
from server.aggregation.means import weighted_mean
from server.checkpoints import Checkpoint
from simulations.weights import THIN


@dataclass(frozen=True)
class Undisturbed:
    """``counted``: the updates, round by round. ``norms``: of each round's mean, 0 where it was discarded."""

    parameters: Parameters
    counted: list[Update]
    norms: list[float]

    def other_means(self, last: Checkpoint) -> int:
        """Rounds whose mean was not that of one update of each silo that counted, as when one counts twice."""
        return sum(
            summary.update_norm != expected for summary, expected in zip(last.history, self.norms, strict=True)
        )


def replayed(
    plan: RunPlan, last: Checkpoint, trained: Collection[tuple[str, int]], cohorts: dict[str, Path], work: Path
) -> Undisturbed:
    """The same run without faults, with these silos in these rounds.

    Args:
        trained: (silo, round) of all that silos trained, counted or not.
        cohorts: each silo's stored cohort, which is copied into ``work``.

    Raises:
        RunError: a silo counted in a round that it does not train.
    """
    pool, threads = ModelPool(), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        silos = {name: _opened(name, cohort, work / name, pool) for name, cohort in cohorts.items()}
        model = plan.model.model_copy(update={"path": THIN})
        counted: list[Update] = []
        norms: list[float] = []
        parameters: Parameters = pool.initial(model, plan.training)
        for summary in last.history:
            request = TrainRequest(
                plan.run,
                summary.round,
                plan.seed,
                model.model_dump(mode="json"),
                plan.training.model_dump(mode="json"),
                parameters,
            )
            wanted = {name for name, round in trained if round == summary.round} | set(summary.losses)
            updates = _updates(silos, sorted(wanted, key=str.encode), request)
            norms.append(0.0)
            if not summary.discarded:
                those = [updates[name] for name in sorted(summary.losses)]
                counted += those
                mean = weighted_mean(those)
                norms[-1], parameters = norm(mean), applied(parameters, mean)
        return Undisturbed(parameters, counted, norms)
    finally:
        torch.set_num_threads(threads)
        shutil.rmtree(work, ignore_errors=True)


def same(one: Parameters, other: Parameters) -> bool:
    """Whether they are equal to the bit."""
    return digest(one) == digest(other)


def _opened(name: str, cohort: Path, place: Path, pool: ModelPool) -> Silo:
    shutil.copytree(cohort, place / "cohort")
    return Silo(name, place, pool=pool)


def _updates(silos: dict[str, Silo], names: Iterable[str], request: TrainRequest) -> dict[str, Update]:
    found = {}
    for name in names:
        answer = silos[name].train(request)
        if not isinstance(answer, Update):
            raise RunError(f"{name} trains no round {request.round}: {answer.reason}", remedy="see its cohort")
        found[name] = answer
    return found
