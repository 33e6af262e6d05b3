"""The relay's rules, without a network: who may send what, how much waits, and what ends a silo's stream."""

from __future__ import annotations

from dataclasses import replace

import pytest

from common.transport.notices import present
from common.transport.wire import CHUNK, Frame, Kind, Status
from server.relay.line import End
from tests.relay_hub import ID, Hub, errors, messages, reply, request


def test_a_request_and_its_reply_pass_once() -> None:
    hub = Hub()
    a, b = hub.join("a"), hub.join("b")
    hub.send(a, *request("a", "b"))
    hub.now += 2
    (asked,) = messages(hub.take(b))
    assert (asked.sender, asked.topic, asked.deadline_ms) == ("a", "t", 3000)
    hub.send(b, reply("b", "a"), reply("b", "a", b"again"))
    (answered,) = messages(hub.take(a))
    assert bytes(answered.body) == b"reply"
    assert hub.metrics.value("refusals_total", silo="b", reason="stray") == 1
    assert hub.metrics.value("answer_seconds_sum", silo="b") == 2


def test_everybody_is_told_who_is_connected() -> None:
    hub = Hub()
    a = hub.join("a")
    b = hub.join("b")
    assert present(hub.take(a)[-1]) == {"a", "b"}
    hub.exchange.detach(b)
    assert present(hub.take(a)[-1]) == {"a"}


@pytest.mark.parametrize(
    "frame",
    [
        request("b", "c")[0],
        reply("b", "c"),
        Frame(Kind.ERROR, "b", "c", message_id=ID, status=Status.FAILED),
        Frame(Kind.ERROR, "", "c", message_id=ID, status=Status.EXPIRED),
        Frame(Kind.PRESENCE, receiver="c", length=1, body=b"x"),
        Frame(Kind.CREDIT, "c", "a", length=4, body=bytes(4)),
    ],
    ids=["request", "reply", "error", "relay's error", "presence", "credit"],
)
def test_a_silo_that_speaks_in_anothers_name_is_cut_off(frame: Frame) -> None:
    hub = Hub()
    a, b, c = hub.join("a"), hub.join("b"), hub.join("c")
    hub.send(c, *request("c", "b"))
    hub.take(c)
    hub.send(a, frame)
    assert a.ended is End.FAULTY
    assert not messages(hub.take(c))
    assert hub.exchange.connected() == ["b", "c"]
    assert b.ended is None


def test_a_silo_can_answer_only_what_it_was_asked_and_all_of_it() -> None:
    hub = Hub()
    a, b, c = hub.join("a"), hub.join("b"), hub.join("c")
    first, second = request("a", "b", 2 * CHUNK)
    hub.send(a, first)
    hub.send(c, reply("c", "a"))
    hub.send(b, reply("b", "a"))
    assert not messages(hub.take(a))
    hub.send(a, second)
    hub.send(c, Frame(Kind.ERROR, "c", "a", message_id=ID, status=Status.FAILED))
    hub.send(c, reply("c", "a"))
    assert not [*errors(told := hub.take(a)), *messages(told)]
    hub.send(b, reply("b", "a"))
    assert len(messages(hub.take(a))) == 1


def test_a_request_whose_time_is_over_is_answered_as_expired_and_forgotten() -> None:
    hub = Hub()
    a, b = hub.join("a"), hub.join("b")
    hub.send(a, *request("a", "b", seconds=5))
    hub.now += 5.1
    hub.exchange.tick()
    assert errors(hub.take(a)) == [Status.EXPIRED]
    assert not messages(hub.take(b))
    hub.send(b, reply("b", "a"))
    assert not messages(hub.take(a))
    assert hub.metrics.value("queue_bytes", silo="b") == 0


def test_a_newer_stream_of_a_silo_replaces_the_older() -> None:
    hub = Hub()
    old, b = hub.join("a"), hub.join("b")
    hub.send(b, *request("b", "a"))
    new = hub.join("a")
    assert old.ended is End.REPLACED
    assert errors(hub.take(b)) == [Status.UNREACHABLE]
    hub.send(old, *request("a", "b", message_id=b"2" * 16))
    assert not messages(hub.take(b))
    hub.send(b, *request("b", "a"))
    assert len(messages(hub.take(new))) == 1
    hub.exchange.detach(old)
    assert hub.exchange.connected() == ["a", "b"]


def test_bytes_that_are_no_frame_end_the_stream() -> None:
    hub = Hub()
    a = hub.join("a")
    hub.exchange.receive(a, b"GET / HTTP/1.1")
    assert a.ended is End.FAULTY


def test_frames_out_of_order_do_not_pass() -> None:
    hub = Hub()
    a, b = hub.join("a"), hub.join("b")
    first, second, third = request("a", "b", 3 * CHUNK)
    hub.send(a, second, first, third, first, replace(second, receiver="a"))
    assert [frame.index for frame in messages(hub.take(b))] == [0]


def test_an_absent_silo_is_told_at_once_and_so_is_one_that_leaves() -> None:
    hub = Hub()
    a = hub.join("a")
    hub.send(a, *request("a", "b"), *request("a", "a", message_id=b"2" * 16))
    assert errors(hub.take(a)) == [Status.UNREACHABLE] * 2
    b = hub.join("b")
    hub.send(a, *request("a", "b"))
    hub.take(b)
    hub.take(a)
    hub.exchange.detach(b)
    told = hub.take(a)
    # In this order: whoever hears that b is gone must not read it after b's return.
    assert [frame.kind for frame in told] == [Kind.ERROR, Kind.PRESENCE]
    assert errors(told) == [Status.UNREACHABLE]
