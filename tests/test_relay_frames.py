"""Frames between silos and relay: what is read back, and that hostile bytes are refused in one way."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from client.relay.outbox import Message, Outbox
from common.errors import ConfigError, DisclosureError, RelayError
from common.transport.assembly import Assembler, AssemblyLimits, TooMuch
from common.transport.backoff import Backoff
from common.transport.notices import credit, granted, presence, present
from common.transport.refusal import PeerRefusal, read_refusal, write_refusal
from common.transport.wire import (
    CHUNK,
    MAX_DEADLINE_MS,
    MAX_FRAME,
    MAX_MESSAGE,
    MAX_NOTE,
    Frame,
    Kind,
    Status,
    chunk,
    parse,
)

ID = bytes(range(16))
REQUEST = Frame(Kind.REQUEST, "a", "b", "rank.query", ID, length=5, deadline_ms=1000, body=b"hello")
REPLY = Frame(Kind.REPLY, "b", "a", message_id=ID, length=2, body=b"ok")
ERROR = Frame(Kind.ERROR, "b", "a", message_id=ID, length=3, status=Status.REFUSED, body=b"no!")
NOTICES = [Frame(Kind.HEARTBEAT), presence(["b", "ä"], receiver="a"), credit(4096, about="b", receiver="a")]
FRAMES = [REQUEST, REPLY, ERROR, *NOTICES]


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: frame.kind.name)
def test_a_frame_reads_back_as_it_was_written(frame: Frame) -> None:
    read = parse(frame.encode())
    assert replace(read, body=bytes(read.body)) == frame
    assert len(frame.encode()) == frame.size <= MAX_FRAME


def test_notices_tell_names_and_credit() -> None:
    assert present(parse(presence(["b", "a"], receiver="a").encode())) == {"a", "b"}
    assert present(parse(presence([], receiver="a").encode())) == frozenset()
    assert granted(parse(credit(1 << 20, about="", receiver="a").encode())) == 1 << 20


@pytest.mark.parametrize(
    "frame",
    [
        replace(REQUEST, topic=""),
        replace(REQUEST, topic="Rank Query"),
        replace(REQUEST, sender=""),
        replace(REQUEST, sender="a\n"),
        replace(REQUEST, receiver="x" * 65),
        replace(REQUEST, deadline_ms=0),
        replace(REQUEST, deadline_ms=MAX_DEADLINE_MS + 1),
        replace(REQUEST, length=4),
        replace(REQUEST, length=MAX_MESSAGE + 1),
        replace(REQUEST, index=1),
        replace(REQUEST, length=CHUNK + 5),
        replace(REQUEST, message_id=bytes(16)),
        replace(REQUEST, status=Status.EXPIRED),
        replace(REPLY, topic="rank.query"),
        replace(REPLY, deadline_ms=5),
        replace(ERROR, status=Status.OK),
        replace(ERROR, status=Status.EXPIRED),
        replace(ERROR, sender=""),
        replace(ERROR, body=bytes(MAX_NOTE + 1), length=MAX_NOTE + 1),
        replace(NOTICES[0], sender="a"),
        replace(NOTICES[0], body=b"x", length=1),
        replace(NOTICES[1], sender="b"),
        replace(NOTICES[2], body=b"12345", length=5),
    ],
)
def test_a_frame_with_one_wrong_field_is_refused(frame: Frame) -> None:
    with pytest.raises(RelayError, match="a frame was refused"):
        parse(frame.encode())


def test_presence_with_anything_but_names_is_refused() -> None:
    for body in (b"a\n\nb", b"\xff", b"x" * 65, b"\n".join([b"a"] * 1025), b"a\x1b[2J"):
        with pytest.raises(RelayError, match="a frame was refused"):
            present(parse(Frame(Kind.PRESENCE, receiver="a", length=len(body), body=body).encode()))


def test_mutated_frames_are_read_or_refused_and_never_anything_else() -> None:
    rng = random.Random(5)
    refused = []
    for _ in range(6000):
        raw = bytearray(rng.choice(FRAMES).encode())
        for _ in range(rng.randint(1, 4)):
            action = rng.random()
            if action < 0.6 and raw:
                raw[rng.randrange(len(raw))] = rng.randrange(256)
            elif action < 0.8:
                del raw[rng.randrange(len(raw) + 1) :]
            else:
                raw += rng.randbytes(rng.randint(1, 40))
        try:
            frame = parse(bytes(raw))
        except RelayError as error:
            refused.append(str(error))
        else:
            # What is read is a frame in full: it is written as it came.
            assert frame.encode() == bytes(raw)
    assert len(refused) > 3000
    assert len(set(refused)) == 1
    with pytest.raises(RelayError, match="a frame was refused"):
        parse(bytes(MAX_FRAME + 1))


def pieces(size: int, *, sender: str = "a", message_id: bytes = ID, deadline_ms: int = 1000) -> list[Frame]:
    header = Frame(Kind.REQUEST, sender, "b", "t", message_id, deadline_ms=deadline_ms)
    body = random.Random(size).randbytes(size)
    return [chunk(header, body, index) for index in range(max(1, -(-size // CHUNK)))]


@pytest.mark.parametrize("size", [0, 1, CHUNK, CHUNK + 1, 5 * CHUNK])
def test_a_message_survives_being_cut_and_interleaved(size: int) -> None:
    assembler = Assembler(AssemblyLimits(), Clock())
    other = pieces(3 * CHUNK, sender="c")
    whole = [body for frame in pieces(size) for body in (assembler.add(frame), assembler.add(other[0]))]
    assert [body for body in whole if body is not None] == [random.Random(size).randbytes(size)]


def test_a_message_that_begins_anew_is_whole_and_one_with_a_gap_is_not() -> None:
    assembler = Assembler(AssemblyLimits(), Clock())
    first, second, third = pieces(2 * CHUNK + 9)
    assert [assembler.add(frame) for frame in (first, second, first, second)] == [None] * 4
    assert assembler.add(third) == random.Random(2 * CHUNK + 9).randbytes(2 * CHUNK + 9)
    assert [assembler.add(frame) for frame in (first, third, second, third)] == [None] * 4
    assert assembler.held_bytes == 0


def test_unfinished_messages_are_bounded_by_sender_and_in_all() -> None:
    clock = Clock()
    limits = AssemblyLimits(messages=4, bytes=6 * CHUNK, sender_messages=2, sender_bytes=3 * CHUNK)
    assembler = Assembler(limits, clock)
    for number in range(2):
        assembler.add(pieces(9 * CHUNK, message_id=bytes([number + 1]) * 16)[0])
    with pytest.raises(TooMuch):
        assembler.add(pieces(9 * CHUNK, message_id=b"3" * 16)[0])
    assembler.add(pieces(9 * CHUNK, message_id=bytes([1]) * 16)[1])
    with pytest.raises(TooMuch):
        assembler.add(pieces(9 * CHUNK, message_id=bytes([2]) * 16)[1])
    assert assembler.add(pieces(5, sender="c")[0]) is not None
    for name in "cde":
        assembler.add(pieces(9 * CHUNK, sender=name)[0])
    with pytest.raises(TooMuch):
        assembler.add(pieces(9 * CHUNK, sender="f")[0])
    clock.now += 2
    # Those whose time is over make room.
    assembler.add(pieces(9 * CHUNK, sender="f")[0])
    assert assembler.held_bytes == CHUNK


def test_a_small_message_leaves_right_after_one_chunk_of_a_large_one() -> None:
    outbox = Outbox(Clock())
    outbox.grant("", 1 << 20)
    outbox.put(Message(Frame(Kind.REQUEST, "a", "b", "t", b"L" * 16), bytes(20 << 20), until=200))
    outbox.put(Message(Frame(Kind.REQUEST, "a", "b", "t", b"s" * 16), bytes(1000), until=200))
    order = [parse(outbox.next(1) or b"").message_id[:1] for _ in range(3)]
    assert order == [b"L", b"s", b"L"]


def test_a_receiver_without_credit_holds_up_nobody_else() -> None:
    outbox = Outbox(Clock())
    outbox.grant("", 2 * MAX_FRAME)
    outbox.put(Message(Frame(Kind.REQUEST, "a", "slow", "t", b"L" * 16), bytes(20 << 20), until=200))
    taken = [parse(outbox.next(0) or b"") for _ in range(5)]
    assert [frame.kind for frame in taken].count(Kind.REQUEST) == 2
    outbox.put(Message(Frame(Kind.REQUEST, "a", "b", "t", b"s" * 16), bytes(1000), until=200))
    assert parse(outbox.next(0) or b"").receiver == "b"
    outbox.grant("slow", MAX_FRAME)
    assert parse(outbox.next(0) or b"").index == 2


def test_what_has_no_time_left_is_not_sent_and_what_has_tells_how_much() -> None:
    clock = Clock()
    outbox = Outbox(clock)
    outbox.grant("", 1 << 20)
    outbox.put(Message(Frame(Kind.REQUEST, "a", "b", "t", b"1" * 16), b"late", until=101))
    outbox.put(Message(Frame(Kind.REQUEST, "a", "b", "t", b"2" * 16), b"soon", until=103))
    clock.now = 102.5
    frame = parse(outbox.next(0) or b"")
    assert (bytes(frame.body), frame.deadline_ms) == (b"soon", 500)
    outbox.close()
    assert outbox.next(0) is None


def test_waits_double_up_to_the_ceiling_and_differ_between_silos() -> None:
    backoff = Backoff(random.Random(1), first=1, ceiling=8)
    waits = [backoff.next() for _ in range(6)]
    assert all(bound / 2 <= wait <= bound for wait, bound in zip(waits, [1, 2, 4, 8, 8, 8], strict=True))
    other = Backoff(random.Random(2), first=1, ceiling=8)
    assert all(wait != other.next() for wait in waits)
    backoff.reset()
    assert backoff.next() <= 1
    backoff.give_way()
    assert backoff.next() >= 4


def test_a_refusal_keeps_its_words_and_exit_code() -> None:
    error = read_refusal(write_refusal(DisclosureError("12 units remain", remedy="ask less")), sender="b")
    assert (error.what, error.remedy, error.code, error.exit_code) == ("b: 12 units remain", "ask less", 10, 10)
    assert write_refusal(ConfigError("x"))[0] == ConfigError.exit_code


@pytest.mark.parametrize(
    "body", [b"", b"\x0a", b"\x0a\xff\xfe", b"\x0aonly", b"\x0a\n", b"\x0aa\nb\nc", b"\x0a \nx"]
)
def test_a_refusal_that_says_nothing_proper_says_nothing(body: bytes) -> None:
    assert read_refusal(body, sender="b").what == "b: the other hospital could not answer"


def test_a_hostile_refusal_cannot_steer_the_terminal_or_pass_as_success() -> None:
    raw = b"\x00" + "[bold]all is well[/]\x1b[2J\u202e".encode() + b"x" * 5000 + b"\n" + b"[link=http://x]y"
    error = read_refusal(raw, sender="b")
    assert isinstance(error, PeerRefusal)
    assert error.exit_code == 1
    assert error.what.isprintable()
    assert not set("[]\x1b\u202e") & set(str(error))
    assert len(str(error)) < 600
    assert len(write_refusal(ConfigError("ß" * 9999, remedy="𝔸" * 9999))) <= MAX_NOTE
