"""Faults of single messages: rounds over the agents' real sockets, one reply of each altered on its way.

The round loop and the gate are the coordinator's own; only Flower's processes are left out, so that all kinds of
``faults.MESSAGE_FAULTS`` fit into a few seconds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from client.plans.deciding import SOCKET
from client.training.forwarding import AgentSilo
from common.records import TrainRequest, Update
from server.checkpoints import Checkpoint, RoundSummary
from server.training.led_run import LedRun, begin_run
from simulations.chaos.dishonest import altered
from simulations.chaos.faults import MESSAGE_FAULTS
from simulations.chaos.ground import Ground
from simulations.engines.altering import note_of, run_altered, with_note, without_form
from simulations.weights import THIN

DEADLINE = 8.0


@dataclass(frozen=True)
class MessageFault:
    """One reply that was altered. ``failed``: why that went wrong, empty where it was met."""

    fault: str
    round: int
    silo: str
    reason: str
    failed: str


def run_messages(
    ground: Ground, seed: int, run: str, kept: dict[str, list[Update]]
) -> tuple[LedRun, Checkpoint, list[MessageFault]]:
    """A run of one honest round, then one with each fault of a message, in an order that the seed gives.

    Args:
        kept: updates of each silo in earlier runs; this run's are added.
    """
    rng = np.random.default_rng([seed, 2])
    kinds = [str(kind) for kind in rng.permutation(list(MESSAGE_FAULTS))]
    victims = {number: (kind, str(rng.choice(ground.silos))) for number, kind in enumerate(kinds, start=2)}
    signed = ground.sign_plan(run, rounds=1 + len(kinds), seed=seed)
    led = begin_run(ground.place.relay, signed, ground.approve(run, signed), backbone=THIN, parent=None)
    way = _Way(ground, victims, kept)
    last = run_altered(replace(led.coordination(), deadline_s=DEADLINE), way.silo, way)
    met = [
        _judged(kind, silo, last.history[number - 1], way.done, ground.silos)
        for number, (kind, silo) in victims.items()
    ]
    return led, last, met


def cohorts(ground: Ground) -> dict[str, Path]:
    """Each silo's stored patients."""
    return {silo: space.cohort_folder for silo, space in ground.spaces.items()}


def _judged(kind: str, silo: str, summary: RoundSummary, done: set[int], silos: Sequence[str]) -> MessageFault:
    reason, failed = summary.excluded.get(silo, ""), ""
    if summary.round not in done:
        failed = "the reply was not altered"
    elif set(summary.losses) - {silo} != set(silos) - {silo}:
        failed = "an honest silo was left out"
    elif kind == "duplicate" and silo not in summary.losses:
        failed = "an honest update was left out"
    elif kind != "duplicate" and (silo in summary.losses or not reason):
        failed = "the altered update counted"
    return MessageFault(kind, summary.round, silo, reason, failed)


class _Way:
    """The replies' way to the coordinator, on which those of ``victims`` (by round) are disturbed."""

    def __init__(self, ground: Ground, victims: dict[int, tuple[str, str]], kept: dict[str, list[Update]]) -> None:
        self._ground, self._victims, self._kept = ground, victims, kept
        self.done: set[int] = set()
        """Rounds in which a reply was disturbed."""

    def silo(self, name: str) -> AgentSilo:
        """The agent's real socket."""
        return AgentSilo(self._ground.spaces[name].folder / SOCKET)

    def __call__(self, silo: str, request: TrainRequest, record: Any) -> list[Any]:
        """What arrives."""
        update = Update.from_record(record)
        if not isinstance(update, Update):
            return [record]
        kind, victim = self._victims.get(request.round, ("", ""))
        made = [record] if victim != silo else self._made(kind, update, record)
        self._kept[silo].append(update)
        if victim == silo:
            self.done.add(request.round)
        return made

    def _made(self, kind: str, update: Update, record: Any) -> list[Any]:
        match kind:
            case "late":
                return []
            case "duplicate":
                return [record, record]
            case "no message":
                return [without_form()]
            case "older peer":
                return [with_note(record, json.dumps({**json.loads(note_of(record)), "protocol": 0}))]
        known = [
            earlier for earlier in self._kept[update.silo] if (earlier.run != update.run) == (kind == "other run")
        ]
        member = self._ground.spaces[update.silo].member()
        return [altered(kind, update, member, known).to_record()]
