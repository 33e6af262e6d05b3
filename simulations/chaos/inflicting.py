"""Each fault of ``faults.PROCESS_FAULTS`` on real processes: called when its round is the next one to train."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from simulations.chaos.faults import DISHONEST
from simulations.chaos.front import Passage
from simulations.chaos.trial import Happened, Trial, since

CUT_SECONDS, SERVER_APP_SECONDS = 10.0, 1.5
RANK_SECONDS = 120.0
UPLOAD = b"/v1/fleet/push-object"
MESSAGE = b"/v1/fleet/push-messages"
_QUERY_BYTES = 4096


def inflict(trial: Trial, fault: str, number: int) -> Happened:
    """Let ``fault`` happen in round ``number``, and mend what it broke.

    Raises:
        RunError: it did not come to it; the run is then not worth counting.
    """
    happened = Happened(fault, number, at=time.monotonic(), least=number)
    _BY_NAME[fault](trial, happened)
    return happened


def _silo_killed_training(trial: Trial, happened: Happened) -> None:
    silo, what = trial.one(), str(trial.rng.choice(["agent", "node", "agent and node"]))
    trial.wait_until_trains(silo, happened.round)
    _killed(trial, happened, (silo,), what)


def _silo_killed_uploading(trial: Trial, happened: Happened) -> None:
    silo = trial.one()
    half = _HalfAnUpload()
    trial.wait_until_trains(silo, happened.round)
    trial.ground.fronts[silo].tap = half
    try:
        trial.wait(half.reached.is_set, f"{silo} uploads nothing")
        _killed(trial, happened, (silo,), "agent and node")
    finally:
        trial.ground.fronts[silo].tap = None


def _half_gone(trial: Trial, happened: Happened) -> None:
    silos = trial.several(len(trial.ground.silos) // 2)
    for silo in silos:
        trial.wait_until_trains(silo, happened.round)
        # An update that was sent already would count.
        trial.ground.fronts[silo].cut()
    try:
        _killed(trial, happened, silos, "agent and node")
    finally:
        for silo in silos:
            trial.ground.fronts[silo].heal()


def _killed(trial: Trial, happened: Happened, silos: tuple[str, ...], what: str) -> None:
    happened.at, happened.silos, happened.note = time.monotonic(), silos, what
    for silo in silos:
        trial.ground.kill(silo, agent="agent" in what, node="node" in what)
    # A service manager starts them again at once.
    trial.ground.start()


def _superlink_killed(trial: Trial, happened: Happened) -> None:
    _at_checkpoint(trial, happened, "before")
    trial.coordinator.kill_superlink(with_all=False)
    trial.coordinator.release()
    # The ServerApp may live on for so long that it renames the checkpoint of this round.
    trial.wait(lambda: since(happened.at) > SERVER_APP_SECONDS, "time stands still")
    happened.least = max(happened.round, trial.coordinator.rounds + 1)


def _coordinator_killed_before(trial: Trial, happened: Happened) -> None:
    _at_checkpoint(trial, happened, "before")
    trial.coordinator.kill()
    trial.coordinator.kill_superlink(with_all=True)
    trial.coordinator.release()


def _coordinator_killed_after(trial: Trial, happened: Happened) -> None:
    _at_checkpoint(trial, happened, "after")
    trial.coordinator.kill()
    trial.coordinator.release()
    happened.least = happened.round + 1


def _at_checkpoint(trial: Trial, happened: Happened, when: str) -> None:
    # Before that, the coordinator writes the checkpoint that the run begins with.
    _wait_until_anybody_trains(trial, happened)
    trial.coordinator.hold(when)
    trial.wait(lambda: trial.coordinator.held() is not None, "no checkpoint is written")
    happened.at = time.monotonic()


def _relay_killed(trial: Trial, happened: Happened) -> None:
    """While a rank is in flight: it ends, with an answer or a reason, and works again when the relay is back."""
    silo = trial.one()
    _at_checkpoint(trial, happened, "before")  # so that the rounds to come wait until this is over
    try:
        _relay_killed_now(trial, happened, silo)
    finally:
        trial.coordinator.release()


def _relay_killed_now(trial: Trial, happened: Happened, silo: str) -> None:
    ground = trial.ground
    ground.wait_until_ranking()
    sent, said = ground.network.sent, []
    before = len(sent.get(("relay", silo), b""))
    asking = threading.Thread(target=lambda: said.append(ground.rank(silo)), daemon=True)
    asking.start()
    trial.wait(lambda: len(sent.get(("relay", silo), b"")) > before + _QUERY_BYTES, "no query is sent", 60)
    happened.at, happened.silos = time.monotonic(), (silo,)
    ground.kill("relay")
    ground.start()
    asking.join(RANK_SECONDS)
    happened.note = str(said[0][1]) if said else ""
    happened.extra["query ended in s"] = round(since(happened.at), 1)
    if not said:
        happened.failed = f"the query did not end within {RANK_SECONDS:.0f} s"
        return
    trial.wait(lambda: ground.rank(silo)[0] == len(ground.silos), "nobody ranks again", RANK_SECONDS)
    happened.recovery = since(happened.at)


def _straggler(trial: Trial, happened: Happened) -> None:
    silo = trial.one()
    trial.wait_until_trains(silo, happened.round)
    happened.at, happened.silos = time.monotonic(), (silo,)
    trial.signal(silo, signal.SIGSTOP)
    try:
        _wait_for_end(trial, happened)
    finally:
        trial.signal(silo, signal.SIGCONT)


def _partition(trial: Trial, happened: Happened) -> None:
    silo = trial.one()
    trial.wait_until_trains(silo, happened.round)
    happened.at, happened.silos, happened.detects = time.monotonic(), (silo,), True
    trial.ground.fronts[silo].cut()
    try:
        trial.wait(lambda: since(happened.at) > CUT_SECONDS, "time stands still")
    finally:
        trial.ground.fronts[silo].heal()


def _disk_full_at_silo(trial: Trial, happened: Happened) -> None:
    ground, silo = trial.ground, trial.ground.small
    happened.at, happened.silos, happened.note = time.monotonic(), (silo,), ground.disks[silo].kind
    ground.disks[silo].fill([trial.agent_pid(silo)])
    try:
        _wait_for_end(trial, happened)
    finally:
        ground.disks[silo].free()


def _disk_full_at_coordinator(trial: Trial, happened: Happened) -> None:
    disk, starts = trial.ground.disks["coordinator"], trial.coordinator.starts
    _wait_until_anybody_trains(trial, happened)
    happened.at, happened.note = time.monotonic(), disk.kind
    disk.fill(trial.coordinator.server_apps())
    try:
        trial.wait(lambda: trial.coordinator.starts > starts, "the coordinator does not notice its full disk")
    finally:
        disk.free()


def _expired(trial: Trial, happened: Happened) -> None:
    _shown(trial, happened, (-30, -1))


def _clock_behind(trial: Trial, happened: Happened) -> None:
    _shown(trial, happened, (1, 30))


def _shown(trial: Trial, happened: Happened, days: tuple[int, int]) -> None:
    ground, silo = trial.ground, trial.one()
    happened.at, happened.silos, happened.detects = time.monotonic(), (silo,), True
    ground.fronts[silo].show(ground.false_certificate(days=days))
    try:
        _wait_for_end(trial, happened)
    finally:
        ground.fronts[silo].show(ground.honest)


def _damaged(trial: Trial, happened: Happened) -> None:
    silo = trial.one()
    damage = _Damage(flips=bool(trial.rng.integers(2)))
    trial.wait_until_trains(silo, happened.round)
    trial.ground.fronts[silo].tap = damage
    try:
        trial.wait(damage.reached.is_set, f"{silo} uploads nothing")
        happened.at, happened.silos = time.monotonic(), (silo,)
        happened.note = "a bit flipped" if damage.flips else "cut short"
        _wait_for_end(trial, happened)
    finally:
        trial.ground.fronts[silo].tap = None


def _sent_twice(trial: Trial, happened: Happened) -> None:
    silo = trial.one()
    front = trial.ground.fronts[silo]
    trial.wait_until_trains(silo, happened.round)
    happened.at, happened.silos = time.monotonic(), (silo,)
    front.again, front.repeated = MESSAGE, []
    try:
        trial.wait(lambda: bool(front.repeated), "nothing was sent twice")
        _wait_for_end(trial, happened)
    finally:
        front.again = None
    happened.note = front.repeated[0].decode("latin-1").strip()


def _dishonest(trial: Trial, happened: Happened) -> None:
    silo, kind = trial.one(), DISHONEST[trial.seed % len(DISHONEST)]
    man = trial.middleman(silo)
    before = man.did
    man.alter(kind, happened.round)
    happened.at, happened.silos, happened.note = time.monotonic(), (silo,), kind
    _wait_for_end(trial, happened)
    if man.did == before:
        happened.note += " (the node came back too late for it)"
        return
    found = trial.coordinator.checkpoint()
    if found is not None and silo in found.history[happened.round - 1].losses:
        happened.failed = f"an update was counted that was altered: {kind}"


def _wait_until_anybody_trains(trial: Trial, happened: Happened) -> None:
    silos, number = trial.ground.silos, happened.round
    trial.wait(lambda: any(trial.trains(silo, number) for silo in silos), f"nobody trains round {number}")


def _wait_for_end(trial: Trial, happened: Happened) -> None:
    trial.wait(lambda: trial.coordinator.rounds >= happened.round, f"round {happened.round} does not end")


class _HalfAnUpload:
    """Lets half of the first block of an update's arrays pass, then nothing any more."""

    def __init__(self) -> None:
        self.reached = threading.Event()

    def __call__(self, passage: Passage, block: bytes) -> bytes | None:
        if self.reached.is_set() or not _uploads(passage, block):
            return block
        passage.send(block[: len(block) // 2])
        self.reached.set()
        return None


class _Damage:
    """Flips a bit of the first block of an update's arrays, or breaks the connection in its middle."""

    def __init__(self, *, flips: bool) -> None:
        self.flips, self.reached = flips, threading.Event()

    def __call__(self, passage: Passage, block: bytes) -> bytes | None:
        if self.reached.is_set() or not _uploads(passage, block):
            return block
        self.reached.set()
        middle = len(block) // 2
        if self.flips:
            return block[:middle] + bytes([block[middle] ^ 1]) + block[middle + 1 :]
        passage.send(block[:middle])
        passage.end()
        return None


def _uploads(passage: Passage, block: bytes) -> bool:
    return passage.request.startswith(b"POST " + UPLOAD) and len(block) > 1024


_BY_NAME: dict[str, Callable[[Trial, Happened], Any]] = {
    "silo killed while training": _silo_killed_training,
    "silo killed while uploading": _silo_killed_uploading,
    "SuperLink killed": _superlink_killed,
    "coordinator killed before checkpoint": _coordinator_killed_before,
    "coordinator killed after checkpoint": _coordinator_killed_after,
    "relay killed": _relay_killed,
    "straggler": _straggler,
    "half of the silos gone": _half_gone,
    "partition": _partition,
    "disk full at a silo": _disk_full_at_silo,
    "disk full at the coordinator": _disk_full_at_coordinator,
    "expired certificate": _expired,
    "clock behind": _clock_behind,
    "damaged on the wire": _damaged,
    "sent twice on the wire": _sent_twice,
    "dishonest node": _dishonest,
}
