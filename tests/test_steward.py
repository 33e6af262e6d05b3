"""Who opens epochs: the first by name, the next where it cannot, and nobody without leave of its own policy."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from client.ranking.steward import Steward
from common.errors import AgentError
from tests.agents import wait_until

PRESENT = ("alpha", "beta", "gamma", "delta")


class Ground:
    """What a steward sees of its silo: the open epoch, the others, the policy."""

    def __init__(self, *others: str) -> None:
        self.others = set(others)
        self.current: object | None = None
        self.opened_at = 0.0
        self.changed: tuple[str, ...] = ()
        self.fails: Exception | None = None
        self.proposed: list[tuple[frozenset[str], bool]] = []
        self.learned = threading.Event()
        self.participants: list[SimpleNamespace] = []
        self.waiting: tuple[str, ...] = ()

    def present(self) -> set[str]:
        return self.others

    def admits(self, name: str) -> bool:
        return name != "stranger"

    def differences(self, epoch: object) -> tuple[str, ...]:
        return self.changed

    def learn(self, names: frozenset[str]) -> None:
        self.learned.set()

    def stop(self) -> None:
        pass

    def agreeing(self, names: frozenset[str]) -> set[str]:
        return set(names)

    def propose(self, present: frozenset[str], *, everybody: bool) -> Ground:
        self.proposed.append((present, everybody))
        if self.fails is not None:
            raise self.fails
        self.current, self.opened_at, self.changed = self, time.time(), ()
        self.epoch, self.number = self, len(self.proposed)
        return self


@pytest.fixture
def started():
    made: list[Steward] = []

    def start(
        name: str,
        ground: Ground,
        allowed: Callable[[], bool] = lambda: True,
        turn: float = 0.2,
        grace: float = 300.0,
    ) -> Steward:
        pace = {"settle": 0.02, "turn": turn, "retry": 0.02, "grace": grace}
        made.append(Steward(name, ground, ground, ground, lambda: ground, allowed, **pace))  # type: ignore[arg-type]
        made[-1].start()
        return made[-1]

    yield start
    for steward in made:
        steward.close()
        steward.join()


def test_the_first_by_name_proposes_with_everybody_on_the_roster(started) -> None:
    ground = Ground("beta", "gamma", "delta", "stranger")
    started("alpha", ground, turn=3600.0)
    wait_until(lambda: ground.current is not None)
    assert ground.proposed == [(frozenset(PRESENT), False)]
    assert ground.learned.is_set()


def test_another_waits_its_turn_and_then_proposes(started) -> None:
    first, second = Ground("beta", "gamma", "delta"), Ground("alpha", "gamma", "delta")
    started("alpha", first, turn=3600.0)
    waiting = started("beta", second, turn=3600.0)
    wait_until(lambda: bool(first.proposed))
    wait_until(second.learned.is_set)
    assert second.proposed == []
    waiting.close()
    third = Ground("alpha", "gamma", "delta")
    started("beta", third)
    wait_until(lambda: bool(third.proposed))


def test_without_leave_of_its_policy_or_four_silos_it_proposes_nothing(started) -> None:
    asked = threading.Event()

    def allowed() -> bool:
        asked.set()
        return False

    forbidden, few = Ground("beta", "gamma", "delta"), Ground("beta", "gamma")
    started("alpha", forbidden, allowed)
    started("alpha", few)
    wait_until(asked.is_set)
    wait_until(few.learned.is_set)
    assert forbidden.proposed == few.proposed == []


def test_what_is_newer_than_the_epoch_calls_for_one_with_everybody(started) -> None:
    ground = Ground("beta", "gamma", "delta")
    started("alpha", ground)
    wait_until(lambda: ground.current is not None)
    ground.changed = ("roster",)
    wait_until(lambda: len(ground.proposed) == 2)
    assert ground.proposed[-1] == (frozenset(PRESENT), True)
    ground.opened_at -= 8 * 86400
    wait_until(lambda: len(ground.proposed) == 3)
    assert ground.proposed[-1] == (frozenset(PRESENT), False)


def test_who_took_part_before_and_starts_anew_is_waited_for_in_the_first_epoch_of_a_release(started) -> None:
    ground = Ground("beta", "gamma", "delta")
    steward = started("alpha", ground, grace=3600.0)
    wait_until(lambda: ground.current is not None)
    ground.participants = [SimpleNamespace(name=name) for name in (*PRESENT, "stranger")]
    ground.waiting = ("epsilon",)
    ground.changed = ("release",)
    wait_until(lambda: steward.last_refusal != "")
    assert steward.last_refusal == "waiting for epsilon, up to 3600 s"
    assert len(ground.proposed) == 1
    ground.others.add("epsilon")
    wait_until(lambda: len(ground.proposed) == 2)
    assert ground.proposed[-1] == (frozenset({*PRESENT, "epsilon"}), True)
    ground.others.discard("epsilon")
    impatient = started("alpha", ground, grace=0.1)
    ground.changed = ("release",)
    wait_until(lambda: len(ground.proposed) > 2)
    assert impatient.last_refusal in ("", "waiting for epsilon, up to 0 s")


@pytest.mark.parametrize("error", [AgentError("not now"), ValueError("patient 17")])
def test_it_outlives_what_fails_and_says_why_in_status(started, error: Exception) -> None:
    ground = Ground("beta", "gamma", "delta")
    ground.fails = error
    steward = started("alpha", ground)
    wait_until(lambda: len(ground.proposed) > 1)
    wait_until(lambda: steward.last_refusal != "")
    assert "17" not in steward.last_refusal
    ground.fails = None
    wait_until(lambda: steward.last_refusal == "" and ground.current is not None)
