"""A silo's own side of the relay: what it answers twice, what it refuses, and whom it takes for absent."""

from __future__ import annotations

import threading
from collections import defaultdict

from client.relay.presence import Presence
from client.relay.service import Outcome, PeerService, ServiceLimits
from common.errors import DisclosureError
from common.transport.refusal import read_refusal
from common.transport.wire import MAX_MESSAGE, Frame, Kind, Status

PATIENT = 20.0


class Asked:
    """A service whose answers the test reads, with a clock that it moves."""

    def __init__(self, **limits: int) -> None:
        self.now = 0.0
        self.calls = 0
        self.begun: defaultdict[bytes, threading.Event] = defaultdict(threading.Event)
        self.may_answer = threading.Event()
        self.answers: list[tuple[bytes, Outcome]] = []
        self.answered = threading.Semaphore(0)
        self.service = PeerService(self._handle, ServiceLimits(**limits), lambda: self.now, self._answer)

    def ask(self, number: int, body: bytes = b"body", *, sender: str = "a") -> None:
        frame = Frame(Kind.REQUEST, sender, "b", "t", bytes([number]) * 16, deadline_ms=5000)
        self.service.take(frame, body)

    def next(self) -> list[tuple[int, Status]]:
        """All answers so far, once there is another."""
        assert self.answered.acquire(timeout=PATIENT)
        return [(message_id[0], outcome.status) for message_id, outcome in self.answers]

    def _handle(self, sender: str, topic: str, body: bytes) -> bytes:
        self.calls += 1
        self.begun[body].set()
        assert self.may_answer.wait(PATIENT)
        if body == b"refuse":
            raise DisclosureError("no", remedy="never")
        return bytes(MAX_MESSAGE + 1) if body == b"large" else body[::-1]

    def _answer(self, request: Frame, outcome: Outcome, until: float) -> None:
        self.answers.append((request.message_id, outcome))
        self.answered.release()


def test_a_request_that_comes_again_while_it_runs_is_run_and_answered_once() -> None:
    asked = Asked()
    asked.ask(1)
    asked.ask(1)
    # Handlers begin in turn: when the last of these has begun, a second run of the first would have, too.
    asked.ask(2, b"last")
    assert asked.begun[b"last"].wait(PATIENT)
    asked.may_answer.set()
    asked.next()
    assert sorted(asked.next()) == [(1, Status.OK), (2, Status.OK)]
    asked.ask(1)
    assert asked.next()[2] == (1, Status.OK)
    assert asked.calls == 2
    asked.service.close()


def test_the_same_id_of_another_silo_is_another_request() -> None:
    asked = Asked()
    asked.may_answer.set()
    asked.ask(1, b"ab")
    asked.next()
    asked.ask(1, b"cd", sender="c")
    asked.next()
    assert [outcome.body for _, outcome in asked.answers] == [b"ba", b"dc"]
    asked.service.close()


def test_outcomes_are_kept_within_bounds() -> None:
    asked = Asked(kept=100, kept_bytes=10)
    asked.may_answer.set()
    for number in (1, 2, 3):
        asked.ask(number)
        asked.next()
    asked.ask(3)
    asked.next()
    assert asked.calls == 3
    asked.ask(1)
    asked.next()
    assert asked.calls == 4
    asked.service.close()


def test_one_silo_cannot_take_all_places() -> None:
    asked = Asked(handlers=1, waiting=4, sender_waiting=2)
    for number in (1, 2, 3):
        asked.ask(number)
    assert asked.next() == [(3, Status.BUSY)]
    asked.ask(4, sender="c")
    asked.may_answer.set()
    for _ in range(3):
        answers = asked.next()
    assert sorted(answers) == [(1, Status.OK), (2, Status.OK), (3, Status.BUSY), (4, Status.OK)]
    asked.service.close()


def test_what_waited_past_its_time_is_not_begun() -> None:
    asked = Asked(handlers=1)
    asked.ask(1)
    asked.ask(2)
    assert asked.begun[b"body"].wait(PATIENT)
    asked.now = 6.0
    asked.may_answer.set()
    asked.next()
    asked.ask(3)
    assert asked.next() == [(1, Status.OK), (3, Status.OK)]
    assert asked.calls == 2
    asked.service.close()


def test_a_refusal_travels_and_a_fault_does_not() -> None:
    asked = Asked()
    asked.may_answer.set()
    asked.ask(1, b"refuse")
    asked.next()
    asked.ask(2, b"large")
    asked.next()
    (_, refusal), (_, fault) = asked.answers
    assert str(read_refusal(refusal.body, sender="b")) == "b: no: never"
    assert fault == Outcome(Status.FAILED, b"")
    asked.service.close()


def test_a_silo_that_could_not_be_reached_is_absent_until_the_relay_tells_otherwise() -> None:
    presence = Presence(0.0)
    presence.tell(["a", "b", "c"], 10.0)
    assert presence.absent_since("b") is None
    presence.miss("b", 20.0)
    presence.tell(["a", "c"], 21.0)
    assert presence.absent_since("b") == 20.0
    assert presence.absent_since("never seen") == 10.0
    presence.tell(["a", "b", "c"], 30.0)
    assert presence.absent_since("b") is None


def test_a_lost_connection_counts_from_when_it_was_lost() -> None:
    presence = Presence(0.0)
    presence.tell(["b"], 10.0)
    presence.lose("gone", 20.0, is_final=False)
    presence.lose("still gone", 30.0, is_final=False)
    assert (presence.connected, presence.since, presence.absent_since("b")) == (False, 20.0, 20.0)
    presence.tell(["b"], 40.0)
    assert (presence.why_not, presence.since) == (None, 40.0)
