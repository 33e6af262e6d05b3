"""One seed from its plans to its result: the faults of messages, the run over processes, and what is looked at."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from client.audit.entry import read_entry
from client.audit.files import lines, log_files
from client.audit.opening import log_folder
from common.errors import PhenofedError
from common.records import Update
from server.checkpoints import Checkpoint
from server.training.led_run import open_run
from simulations.chaos import replay
from simulations.chaos.ground import Ground
from simulations.chaos.inflicting import inflict
from simulations.chaos.messages import cohorts, run_messages
from simulations.chaos.results import FaultResult, SeedResult
from simulations.chaos.scan import Secret, Windows
from simulations.chaos.secrets import named_in, names_of, secrets_of
from simulations.chaos.trial import Happened, Trial, settle

_RELAY_CONTROL = b"query"


def play(
    ground: Ground,
    seed: int,
    faults: tuple[str, ...],
    work: Path,
    *,
    kept: dict[str, list[Update]],
    say: Callable[[str], None],
) -> SeedResult:
    """Everything of one seed; relay and agents run when it begins, and when it ends.

    Args:
        faults: of processes, one a round; a last round without follows.
        kept: updates of each silo in earlier seeds; this seed's are added.
    """
    began, problems = time.monotonic(), []
    led, told, messages = run_messages(ground, seed, f"messages-{seed}", kept)
    expected = replay.replayed(led.plan, told, _everybody(told, ground), cohorts(ground), work / "messages")
    messages_equal = replay.same(expected.parameters, told.parameters)
    say(f"  {len(messages)} altered messages: {'equal to the bit' if messages_equal else 'NOT EQUAL'}")

    happened: list[Happened] = []
    trial = Trial(ground, seed, len(faults) + 1, work / f"chaos-{seed}", kept)
    try:
        with trial:
            for number, fault in enumerate(faults, start=1):
                trial.wait_for_round(number)
                happened.append(inflict(trial, fault, number))
                say(f"  round {number}: {fault} {' '.join(happened[-1].silos)} {happened[-1].note}".rstrip())
            trial.wait_until_done()
            for item in happened:
                settle(trial, item)
    except PhenofedError as error:
        problems.append(str(error))
    problems += _ranked_after(ground)
    last = trial.coordinator.checkpoint()
    return SeedResult(
        seed=seed,
        silos=len(ground.silos),
        seconds=round(time.monotonic() - began, 1),
        rounds=trial.rounds,
        faults=tuple(_fault_result(item) for item in happened),
        messages=tuple(
            FaultResult(
                fault=item.fault, round=item.round, silos=(item.silo,), note=item.reason, failed=item.failed
            )
            for item in messages
        ),
        completed=trial.coordinator.done and (trial.coordinator.run / "release").is_dir(),
        starts=trial.coordinator.starts,
        rounds_discarded=sum(summary.discarded for summary in last.history) if last else 0,
        rounds_repeated=_repeated(ground, trial.run),
        messages_bit_equal=messages_equal,
        problems=tuple(problems),
        **_looked_at(ground, trial, last, work),
    )


def _ranked_after(ground: Ground) -> list[str]:
    """What keeps a hospital from ranking a new patient over all others when everything is over."""
    ground.start()
    try:
        ground.wait_until_ranking()
    except PhenofedError as error:
        return [str(error)]
    answered, said = ground.rank(ground.silos[0])
    return [] if answered == len(ground.silos) else [f"nobody ranks afterwards: {said}"]


def _looked_at(ground: Ground, trial: Trial, last: Checkpoint | None, work: Path) -> dict[str, Any]:
    """Bit-equality and the scan of what was sent and logged."""
    equal, twice = False, 0
    counted: list[Update] = []
    if last is not None:
        plan = open_run(trial.coordinator.run).plan
        undisturbed = replay.replayed(plan, last, trial.states, cohorts(ground), work / "replay")
        equal, counted = replay.same(undisturbed.parameters, last.parameters), undisturbed.counted
        twice = undisturbed.other_means(last)
    windows = Windows(secrets_of(ground))
    scanned: Counter[str] = Counter()
    leaked: Counter[str] = Counter()
    for (front, _), sent in ground.network.sent.items():
        scanned[front] += len(sent)
        leaked.update(windows.found_in(bytes(sent)))
    found = _control(ground.network.sent, counted)
    ground.network.forget()
    named = named_in((*ground.logs(), *work.rglob("*.log")), names_of(ground))
    return {
        "bit_equal": equal,
        "counted_twice": twice,
        "scanned": dict(scanned),
        "leaked": dict(leaked),
        "control_found": found,
        "named_in": tuple(Path(path).name for path in named),
    }


def _control(sent: Mapping[tuple[str, str], bytearray], counted: list[Update]) -> bool:
    """Whether the scan finds what did travel: an update's own arrays, and the topic of a message to the relay."""
    through = {silo: bytes(content) for (front, silo), content in sent.items() if front == "superlink"}
    relayed = b"".join(bytes(content) for (front, _), content in sent.items() if front == "relay")
    seen = [
        Windows([Secret("update", np.asarray(value).tobytes())]).found_in(through.get(update.silo, b""))
        for update in counted
        for value in update.delta.values()
        if np.size(value) > 1000
    ]
    return bool(seen) and all(seen) and _RELAY_CONTROL in relayed


def _everybody(told: Checkpoint, ground: Ground) -> set[tuple[str, int]]:
    """In the run of messages every silo trains every round, whatever becomes of its reply."""
    return {(silo, summary.round) for summary in told.history for silo in ground.silos}


def _repeated(ground: Ground, run: str) -> int:
    """Rounds that silos trained again, since their checkpoint was lost; by the silo that did so most."""
    most = 0
    for space in ground.spaces.values():
        entries = (read_entry(line) for _, path in log_files(log_folder(space)) for line, _ in lines(path))
        rounds = Counter(
            entry.facts.get("round")
            for entry in entries
            if entry.event == "training.trained" and entry.facts.get("run") == run
        )
        most = max(most, sum(times - 1 for times in rounds.values()))
    return most


def _fault_result(item: Happened) -> FaultResult:
    return FaultResult(
        fault=item.fault,
        round=item.round,
        silos=item.silos,
        recovery_s=None if item.recovery is None else round(item.recovery, 1),
        waited_s=round(item.waited, 1),
        note=item.note[:200],
        failed=item.failed,
        extra=item.extra,
    )
