"""The ways to train that a run compares: not at all, each silo alone, federated, all data in one place."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from client.silo import Silo
from common.errors import TrainingError
from common.federation import Coordination
from common.models.assembly import ModelPool
from common.records import Parameters, Refusal, TrainRequest, applied
from server import checkpoints
from server.checkpoints import Checkpoint, RoundSummary
from simulations.engines import Engine
from simulations.folder import RunFolder
from simulations.progress import Advance, Progress
from simulations.scenario import Scenario
from simulations.silos import RunSilos

POOLED = "centralised"


@dataclass(frozen=True)
class Trained:
    """A model that a mode gave. ``model``: 'federated', or 'local/silo-1' where a mode gives several.

    ``seconds``, ``cpu_seconds``: of its training in this process; 0 where a former one trained it.
    """

    mode: str
    model: str
    parameters: Parameters = field(repr=False)
    history: tuple[RoundSummary, ...] = ()
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    notes: tuple[str, ...] = ()


class Training:
    """Trains the modes of a scenario over prepared workspaces."""

    def __init__(self, scenario: Scenario, folder: RunFolder, silos: tuple[str, ...], pool: ModelPool) -> None:
        self._scenario, self._folder, self._silos, self._pool = scenario, folder, silos, pool
        self._initial = pool.initial(scenario.backbone, scenario.training)
        self._silos_of_run = RunSilos(folder.path, scenario.threads, pool)

    def pretrained(self) -> list[Trained]:
        """The network as it came."""
        return [Trained("pretrained", "pretrained", self._initial)]

    def federated(self, engine: Engine, progress: Progress) -> list[Trained]:
        """One model by all silos together."""
        run = self.coordination()
        with self._timed("federated", progress) as clock:
            last = engine(run, self._silos_of_run, on_round=clock.on_round)
        return [clock.trained("federated", "federated", last)]

    def local(self, progress: Progress) -> list[Trained]:
        """A model by each silo alone."""
        result = []
        for name in self._silos:
            with self._timed(f"local: {name}", progress) as clock:
                last, notes = self._alone(self._silos_of_run(name), f"local-{name}", clock.on_round)
            result.append(clock.trained("local", f"local/{name}", last, notes))
        return result

    def centralised(self, progress: Progress) -> list[Trained]:
        """One model by all data in one place, which no hospital would allow: what federation is measured by."""
        pooled = Silo(POOLED, self._folder.pooled, pool=self._pool)
        with self._timed("centralised", progress) as clock:
            last, notes = self._alone(pooled, POOLED, clock.on_round)
        return [clock.trained("centralised", "centralised", last, notes)]

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
            started = time.monotonic()
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
                number, time.monotonic() - started, {silo.name: answer.loss}, {}, discarded=False, update_norm=0.0
            )
            checkpoint = Checkpoint(run, parameters, (*checkpoint.history, summary))
            checkpoints.write(folder, checkpoint)
            on_round(checkpoint)
        return checkpoint, ()

    def _timed(self, name: str, progress: Progress) -> AbstractContextManager[_Clock]:
        return _timed(name, self._scenario.training.rounds, progress)


@contextmanager
def _timed(name: str, rounds: int, progress: Progress) -> Iterator[_Clock]:
    """A progress bar of rounds, and the time that they take."""
    clock = _Clock()
    with progress.stage(f"training {name}", rounds) as clock.advance:
        wall, cpu = time.monotonic(), time.process_time()
        yield clock
        clock.seconds, clock.cpu_seconds = time.monotonic() - wall, time.process_time() - cpu


@dataclass
class _Clock:
    """Counts rounds and seconds of one training."""

    advance: Advance = field(default=lambda steps: None)
    done: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    def on_round(self, checkpoint: Checkpoint) -> None:
        self.advance(checkpoint.round - self.done)
        self.done = checkpoint.round

    def trained(self, mode: str, model: str, last: Checkpoint, notes: tuple[str, ...] = ()) -> Trained:
        return Trained(mode, model, last.parameters, last.history, self.seconds, self.cpu_seconds, notes)
