"""What one silo can cost the relay and the others: queues, leave to send, rates, silence."""

from __future__ import annotations

from common.transport.notices import granted
from common.transport.wire import CHUNK, MAX_FRAME, Frame, Kind, Status
from server.relay.limits import TokenBucket
from server.relay.line import End
from tests.relay_hub import ID, Hub, errors, messages, reply, request


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
