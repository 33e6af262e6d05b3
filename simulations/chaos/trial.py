"""One run of one seed over real processes: the faults that it meets, round by round, and what became of it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from common.errors import RunError
from common.records import Update
from simulations.chaos.coordinator import Coordinator, wait_for
from simulations.chaos.dishonest import Middleman
from simulations.chaos.ground import Ground
from simulations.weights import THIN

LONG, LOOK_SECONDS = 240.0, 0.2


@dataclass
class Happened:
    """One fault of one run.

    Attributes:
        at: (``time.monotonic``) when it happened.
        least: the round whose checkpoint, at the earliest, shows that it is overcome.
        detects: whether a node was cut off, which Flower has to notice by itself.
        waited: seconds of ``recovery`` in which Flower did not know it yet.
        recovery: seconds until the next round that counted.
        note: what else there is to say, in a few words.
    """

    fault: str
    round: int
    silos: tuple[str, ...] = ()
    at: float = 0.0
    least: int = 0
    detects: bool = False
    waited: float = 0.0
    recovery: float | None = None
    note: str = ""
    failed: str = ""
    extra: dict[str, float] = field(default_factory=dict)


class Trial:
    """A run that is led while faults happen to it.

    Args:
        kept: updates that each silo signed in this run and those before, for dishonest nodes.
    """

    def __init__(
        self, ground: Ground, seed: int, rounds: int, work: Path, kept: Mapping[str, list[Update]]
    ) -> None:
        self.ground, self.seed, self.rounds, self.work, self.kept = ground, seed, rounds, work, kept
        self.rng = np.random.default_rng([seed, 1])
        self.run = work.name
        self._open = ExitStack()
        self._middlemen: dict[str, Middleman] = {}
        self.states: set[tuple[str, int]] = set()
        """(silo, round) of all rounds that a silo trained to the end, counted or not."""
        signed = ground.sign_plan(self.run, rounds=rounds, seed=seed)
        self.coordinator = Coordinator(
            ground.place.relay,
            signed,
            ground.approve(self.run, signed),
            backbone=THIN,
            listen=f"127.0.0.1:{ground.superlink_port}",
            hooks=work / "hooks",
        )
        self._stop = threading.Event()
        self._watch = threading.Thread(target=self._look, name="trained rounds", daemon=True)

    def __enter__(self) -> Trial:
        self._watch.start()
        self._open.callback(self._ended)
        self._open.callback(self.coordinator.close)
        self.coordinator.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._open.close()

    def wait(self, condition: Callable[[], bool], what: str, seconds: float = LONG) -> None:
        """Wait for ``condition`` while the coordinator is kept running.

        Raises:
            RunError: it does not come to it.
        """

        def look() -> None:
            if not self.coordinator.keep() and not condition():
                raise RunError(f"{what}: the run is over", remedy="read the logs")

        wait_for(condition, what, seconds=seconds, meanwhile=look)

    def wait_for_round(self, number: int) -> None:
        """Until that round is the next one."""
        self.wait(lambda: self.coordinator.rounds >= number - 1, f"round {number} does not begin")

    def wait_until_done(self) -> None:
        """Until the release is written."""
        self.wait(lambda: self.coordinator.done, "the run does not end")

    def trains(self, silo: str, number: int) -> bool:
        """Whether a silo has begun to train that round."""
        path = self.ground.spaces[silo].folder / "plans" / f"{self.run}.rounds.json"
        try:
            return f'"{number}"' in path.read_text()
        except OSError:
            return False

    def wait_until_trains(self, silo: str, number: int) -> None:
        """Until a silo has begun to train that round."""
        self.wait(lambda: self.trains(silo, number), f"{silo} does not train round {number}")

    def one(self) -> str:
        """A silo, drawn."""
        return str(self.rng.choice(self.ground.silos))

    def several(self, number: int) -> tuple[str, ...]:
        """So many silos, drawn."""
        return tuple(sorted(str(silo) for silo in self.rng.choice(self.ground.silos, number, replace=False)))

    def middleman(self, silo: str) -> Middleman:
        """A dishonest node in the place of a silo's own, to the end of the run."""
        if silo not in self._middlemen:
            path = self.ground.spaces[silo].folder / "dishonest.sock"
            agent = self.ground.spaces[silo].folder.resolve() / "training.sock"
            made = Middleman(path, agent, self.ground.spaces[silo].member(), self.kept[silo])
            self._open.callback(made.close)
            self._middlemen[silo] = made
            self.ground.ask_at(silo, path)
        return self._middlemen[silo]

    def agent_pid(self, silo: str) -> int:
        return self.ground.pid(silo)

    def signal(self, silo: str, number: int) -> None:
        """A signal to a silo's agent."""
        os.kill(self.agent_pid(silo), number)

    def _look(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            self._look_once()

    def _look_once(self) -> None:
        for silo, space in self.ground.spaces.items():
            for path in (space.folder / "training" / self.run).glob("round-*.safetensors"):
                self.states.add((silo, int(path.stem.removeprefix("round-"))))

    def _ended(self) -> None:
        self._stop.set()
        self._watch.join()
        self._look_once()


def settle(trial: Trial, happened: Happened) -> None:
    """Say how long it took until the next round counted; called when the run is done."""
    if happened.recovery is not None:
        return
    counted = trial.coordinator.counts_after(happened.at, happened.least)
    if counted is None:
        happened.failed = happened.failed or "no round counted after it"
        return
    happened.recovery = counted - happened.at
    if happened.detects:
        happened.waited = min(happened.recovery, FLOWER_SECONDS)


FLOWER_SECONDS = 49.0
"""For so long Flower 1.41 holds a node that is cut off to be there (measured)."""


def since(moment: float) -> float:
    """Seconds from a moment of ``time.monotonic``."""
    return time.monotonic() - moment
