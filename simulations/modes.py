"""The ways to train that a run compares: not at all, each silo alone, federated, all data in one place."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from client.silo import Silo
from common.errors import TrainingError
from common.federation import Coordination
from common.learning.assembly import ModelPool
from common.records import Parameters, Refusal, TrainRequest, applied, norm
from server import checkpoints
from server.checkpoints import Checkpoint, RoundSummary
from simulations.engines import Engine
from simulations.folder import RunFolder
from simulations.progress import Progress
from simulations.scenario import Scenario
from simulations.silos import RunSilos

POOLED = "centralised"


@dataclass(frozen=True)
class Trained:
    """A model that a mode gave. ``model``: 'federated', or 'local/silo-1' where a mode gives several."""

    mode: str
    model: str
    parameters: Parameters = field(repr=False)
    history: tuple[RoundSummary, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """On the clock, all rounds, in whatever process they ran."""
        return sum(summary.seconds for summary in self.history)

    @property
    def cpu_seconds(self) -> float:
        """Of the processors, likewise."""
        return sum(summary.cpu_seconds for summary in self.history)


class Training:
    """Trains the modes of a scenario over prepared workspaces."""

    def __init__(self, scenario: Scenario, folder: RunFolder, silos: tuple[str, ...], pool: ModelPool) -> None:
        self._scenario, self._folder, self._silos, self._pool = scenario, folder, silos, pool
        self._initial = pool.initial(scenario.backbone, scenario.training)
        # Ray numbers the GPUs that it sets aside for a worker from 0.
        on_workers = "cuda" if scenario.federation.gpus_per_client > 0 else "cpu"
        self.opener = RunSilos(folder.path, scenario.threads, on_workers, pool)

    def pretrained(self) -> list[Trained]:
        """The network as it came."""
        return [Trained("pretrained", "pretrained", self._initial)]

    def federated(self, engine: Engine, progress: Progress) -> list[Trained]:
        """One model by all silos together."""
        run = self.coordination()
        with self._rounds("federated", progress) as on_round:
            last = engine(run, self.opener, on_round=on_round)
        return [Trained("federated", "federated", last.parameters, last.history)]

    def local(self, progress: Progress) -> list[Trained]:
        """A model by each silo alone."""
        result = []
        for name in self._silos:
            with self._rounds(f"local: {name}", progress) as on_round:
                last, notes = self._alone(self.opener(name), f"local-{name}", on_round)
            result.append(Trained("local", f"local/{name}", last.parameters, last.history, notes))
        return result

    def centralised(self, progress: Progress) -> list[Trained]:
        """One model by all data in one place, which no hospital would allow: what federation is measured by."""
        pooled = Silo(POOLED, self._folder.pooled, pool=self._pool)
        with self._rounds("centralised", progress) as on_round:
            last, notes = self._alone(pooled, POOLED, on_round)
        return [Trained("centralised", "centralised", last.parameters, last.history, notes)]

    def coordination(self) -> Coordination:
        """The federated run as the coordinator knows it."""
        scenario = self._scenario
        return Coordination(
            run="federated",
            seed=scenario.seed,
            rounds=scenario.training.rounds,
            silos=self._silos,
            model=scenario.backbone.model_dump(mode="json"),
            plan=scenario.training.model_dump(mode="json"),
            initial=self._initial,
            folder=self._folder.training("federated"),
            deadline_s=scenario.federation.deadline_s,
            quorum=scenario.federation.quorum,
            max_update_norm=scenario.federation.max_update_norm,
            patient_cap=scenario.federation.patient_cap,
        )

    def _alone(
        self, silo: Silo, run: str, on_round: Callable[[Checkpoint], None]
    ) -> tuple[Checkpoint, tuple[str, ...]]:
        """A federation of one, without Flower; a silo that cannot train keeps the pretrained model."""
        folder, scenario = self._folder.training(run), self._scenario
        checkpoint = checkpoints.read(folder) or Checkpoint(run, self._initial)
        for number in range(checkpoint.round + 1, scenario.training.rounds + 1):
            started, busy = time.monotonic(), time.process_time()
            answer = silo.train(
                TrainRequest(
                    run,
                    number,
                    scenario.seed,
                    scenario.backbone.model_dump(mode="json"),
                    scenario.training.model_dump(mode="json"),
                    checkpoint.parameters,
                )
            )
            if isinstance(answer, Refusal):
                if run == POOLED:
                    raise TrainingError(
                        f"the centralised training stopped: {answer.reason}", remedy="see the plan"
                    )
                return checkpoint, (f"{silo.name} trained no model of its own: {answer.reason}",)
            parameters = applied(checkpoint.parameters, answer.delta)
            summary = RoundSummary(
                number,
                seconds=time.monotonic() - started,
                cpu_seconds=time.process_time() - busy,
                losses={silo.name: answer.loss},
                excluded={},
                discarded=False,
                update_norm=norm(answer.delta),
            )
            checkpoint = Checkpoint(run, parameters, (*checkpoint.history, summary))
            checkpoints.write(folder, checkpoint)
            on_round(checkpoint)
        return checkpoint, ()

    def _rounds(self, name: str, progress: Progress) -> AbstractContextManager[Callable[[Checkpoint], None]]:
        return _rounds(name, self._scenario.training.rounds, progress)


@contextmanager
def _rounds(name: str, rounds: int, progress: Progress) -> Iterator[Callable[[Checkpoint], None]]:
    """A progress bar of rounds, as a function that is told of each checkpoint."""
    done = 0
    with progress.stage(f"training {name}", rounds) as advance:

        def on_round(checkpoint: Checkpoint) -> None:
            nonlocal done
            advance(checkpoint.round - done)
            done = checkpoint.round

        yield on_round
