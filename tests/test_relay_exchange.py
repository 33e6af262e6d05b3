"""The relay's rules, without a network: who may send what, how much waits, and what ends a silo's stream."""

from __future__ import annotations

from dataclasses import replace

import pytest

from common.transport.notices import granted, present
from common.transport.wire import CHUNK, MAX_FRAME, Frame, Kind, Status, chunk, parse
from server.relay_exchange import Exchange
from server.relay_limits import Limits, TokenBucket
from server.relay_line import End, Line
from server.relay_metrics import RelayMetrics

ID = b"1" * 16


class Hub:
    """An exchange with a clock that the test moves."""

    def __init__(self, **limits: float) -> None:
        self.now = 1000.0
        self.metrics = RelayMetrics()
        self.exchange = Exchange(Limits(**limits), self.metrics, lambda: self.now)

    def join(self, name: str) -> Line:
        return self.exchange.attach(name, name, wake=lambda: None, on_end=lambda: None)

    def take(self, line: Line, count: int = 10_000) -> list[Frame]:
        """What the silo reads, at most ``count`` frames of it."""
        frames: list[Frame] = []
        while len(frames) < count and (item := line.next(self.exchange.connected)) is not None:
            if isinstance(item, bytes):
                frames.append(parse(item))
            else:
                frames.append(parse(self.exchange.encode(item)))
                self.exchange.delivered(line, item)
        return frames

    def send(self, line: Line, *frames: Frame) -> None:
        for frame in frames:
            self.exchange.receive(line, frame.encode())


def request(sender: str, receiver: str, size: int = 10, message_id: bytes = ID, seconds: float = 5) -> list[Frame]:
    header = Frame(Kind.REQUEST, sender, receiver, "t", message_id, deadline_ms=int(1000 * seconds))
    return [chunk(header, bytes(size), index) for index in range(max(1, -(-size // CHUNK)))]


def reply(sender: str, receiver: str, body: bytes = b"reply", message_id: bytes = ID) -> Frame:
    return Frame(Kind.REPLY, sender, receiver, message_id=message_id, length=len(body), body=body)


def errors(frames: list[Frame]) -> list[Status]:
    return [frame.status for frame in frames if frame.kind is Kind.ERROR]


def messages(frames: list[Frame]) -> list[Frame]:
    return [frame for frame in frames if frame.kind in (Kind.REQUEST, Kind.REPLY)]


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


def test_a_silo_that_reads_nothing_holds_a_bounded_queue_and_nobody_up() -> None:
    hub = Hub(window_bytes=4 * MAX_FRAME, queue_bytes=8 * MAX_FRAME)
    slow, b = hub.join("slow"), hub.join("b")
    senders = [hub.join(f"a{number}") for number in range(5)]
    for sender in senders:
        hub.send(sender, *request(sender.name, "slow", 3 * CHUNK))
    refused = [sender.name for sender in senders if errors(hub.take(sender)) == [Status.FULL]]
    assert refused
    assert 0 < hub.metrics.value("queue_bytes", silo="slow") <= 8 * MAX_FRAME
    hub.send(senders[0], *request("a0", "b", message_id=b"2" * 16))
    assert len(messages(hub.take(b))) == 1
    served = {frame.sender for frame in messages(hub.take(slow))}
    assert served == {sender.name for sender in senders} - set(refused)
    assert hub.metrics.value("queue_bytes", silo="slow") == 0


def test_leave_to_send_comes_back_when_frames_leave_or_are_forgotten() -> None:
    hub = Hub(window_bytes=3 * MAX_FRAME)
    a, b = hub.join("a"), hub.join("b")
    frames = request("a", "b", 6 * CHUNK)
    hub.take(a)
    hub.send(a, *frames[:3])
    assert not hub.take(a)
    hub.take(b, 4)
    assert sum(granted(frame) for frame in hub.take(a)) == 2 * frames[0].size
    hub.now += 6
    hub.exchange.tick()
    credit = [granted(frame) for frame in hub.take(a) if frame.kind is Kind.CREDIT]
    assert sum(credit) == frames[0].size
    assert a.on_the_way["b"] == 0


def test_leave_comes_back_for_what_is_refused() -> None:
    hub = Hub()
    a = hub.join("a")
    hub.take(a)
    frames = request("a", "nobody", 2 * CHUNK)
    hub.send(a, *frames)
    told = hub.take(a)
    assert errors(told) == [Status.UNREACHABLE]
    assert [granted(frame) for frame in told if frame.kind is Kind.CREDIT] == [frame.size for frame in frames]


def test_a_silo_that_sends_without_leave_is_cut_off() -> None:
    hub = Hub(window_bytes=2 * MAX_FRAME)
    a, b = hub.join("a"), hub.join("b")
    hub.send(a, *request("a", "b", 4 * CHUNK))
    assert a.ended is End.FAULTY
    assert not messages(hub.take(b))


def test_messages_of_several_silos_take_turns() -> None:
    hub = Hub(window_bytes=8 * MAX_FRAME)
    a, b, c = hub.join("a"), hub.join("b"), hub.join("c")
    hub.send(a, *request("a", "c", 5 * CHUNK))
    hub.send(b, *request("b", "c", 100))
    assert [frame.sender for frame in messages(hub.take(c))][:3] == ["a", "b", "a"]


def test_more_requests_than_the_rate_allows_are_refused_until_time_passes() -> None:
    hub = Hub(requests_a_second=1, requests_at_once=2)
    a, b = hub.join("a"), hub.join("b")
    hub.send(a, *(request("a", "b", message_id=bytes([n]) * 16)[0] for n in range(1, 5)))
    assert errors(hub.take(a)) == [Status.LIMITED] * 2
    assert len(messages(hub.take(b))) == 2
    # A new stream is no way around it, and nobody else pays for it.
    again = hub.join("a")
    hub.send(again, request("a", "b", message_id=b"5" * 16)[0])
    assert errors(hub.take(again)) == [Status.LIMITED]
    hub.send(b, *request("b", "a"))
    hub.now += 1.5
    hub.send(again, request("a", "b", message_id=b"6" * 16)[0])
    assert not errors(hub.take(again))


def test_more_bytes_than_the_rate_allows_are_refused_before_they_travel() -> None:
    hub = Hub(bytes_a_second=1000, bytes_at_once=3 * CHUNK)
    a, b = hub.join("a"), hub.join("b")
    hub.send(a, *request("a", "b", 2 * CHUNK), *request("a", "b", 2 * CHUNK, b"2" * 16)[:1])
    assert errors(hub.take(a)) == [Status.LIMITED]
    assert len(messages(hub.take(b))) == 2


def test_unanswered_requests_are_bounded() -> None:
    hub = Hub(unanswered=3)
    a, b = hub.join("a"), hub.join("b")
    hub.send(a, *(request("a", "b", message_id=bytes([n]) * 16)[0] for n in range(1, 6)))
    assert errors(hub.take(a)) == [Status.LIMITED] * 2
    hub.take(b)
    hub.send(b, reply("b", "a", message_id=b"\x01" * 16))
    hub.take(a)
    hub.send(a, request("a", "b", message_id=b"\x09" * 16)[0])
    assert not errors(hub.take(a))


def test_a_silo_that_sends_what_nobody_asked_for_is_cut_off_in_the_end() -> None:
    hub = Hub(bytes_a_second=1, bytes_at_once=2 * CHUNK)
    a = hub.join("a")
    hub.join("b")
    stray = reply("a", "b", bytes(CHUNK))
    hub.send(a, stray)
    assert a.ended is None
    hub.send(a, stray, stray)
    assert a.ended is End.FAULTY


def test_a_silo_that_never_reads_its_notices_is_cut_off() -> None:
    hub = Hub(requests_at_once=10_000)
    a = hub.join("a")
    for number in range(5000):
        hub.send(a, *request("a", "nobody", message_id=number.to_bytes(16, "big")[::-1] if number else ID))
    assert a.ended is End.SLOW


def test_silence_ends_a_stream_and_heartbeats_keep_it() -> None:
    hub = Hub(heartbeat_seconds=20, missed_heartbeats=3)
    silent, living = hub.join("silent"), hub.join("living")
    beats = 0
    for _ in range(7):
        hub.now += 10
        hub.send(living, Frame(Kind.HEARTBEAT))
        hub.exchange.tick()
        beats += sum(frame.kind is Kind.HEARTBEAT for frame in hub.take(living))
    assert silent.ended is End.SILENT
    assert living.ended is None
    assert beats == 3


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


def test_a_bucket_gives_its_store_then_its_rate() -> None:
    now = [0.0]
    bucket = TokenBucket(2.0, 10.0, lambda: now[0])
    assert bucket.take(10)
    assert not bucket.take(1)
    now[0] = 1.0
    assert bucket.take(2)
    now[0] = 1000.0
    assert not bucket.take(11)
    assert bucket.take(10)
