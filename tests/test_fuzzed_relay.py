"""Malformed bytes at the port of the relay, from strangers and a member, and from a hostile relay at a silo."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from client.relay.connection import Pace
from client.relay.link import LinkLimits, RelayLink
from client.relay.outbox import MOST_NOTICES, MOST_REPLIES, MOST_REPLY_BYTES, Message, Outbox
from common.errors import RelayError
from common.transport.backoff import Backoff
from common.transport.notices import MAX_NAMES, credit, presence
from common.transport.tls import TlsFiles
from common.transport.wire import METHOD, SERVICE, Frame, Kind, Status, parse
from server.relay.limits import Limits
from tests.agents import wait_until
from tests.hostile_bytes import Hostile, count
from tests.relay_consortium import PATIENT, RelayConsortium
from tests.tls_files import Authority
from tests.unharmed import bounded

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
ID = bytes(range(16))
SENT = (
    Frame(Kind.REQUEST, "c", "b", "q", ID, length=5, deadline_ms=1000, body=b"hello"),
    Frame(Kind.REPLY, "c", "b", message_id=ID, length=2, body=b"ok"),
    Frame(Kind.ERROR, "c", "b", message_id=ID, length=3, status=Status.REFUSED, body=b"no!"),
    Frame(Kind.HEARTBEAT),
)
"""What a silo sends."""


class Relayed(RelayConsortium):
    """A relay with silos a and b connected, and a member c without manners; ``heard``: what reached b."""

    def __init__(self, folder: Path) -> None:
        plenty = Limits(requests_a_second=1e6, requests_at_once=1_000_000)
        super().__init__(folder, "a", "b", "c", limits=plenty)
        self.heard: list[tuple[str, str, bytes]] = []
        self.b = self.link("b", self._answer)
        self.a = self.link("a")
        assert self.a.wait_for("ab", seconds=PATIENT)

    def _answer(self, sender: str, topic: str, body: bytes) -> bytes:
        self.heard.append((sender, topic, body))
        return body[::-1]

    @contextlib.contextmanager
    def unharmed(self) -> Iterator[None]:
        """Fails unless a still reaches b over the streams of before, and nobody else reached anybody."""
        assert self.a.request("b", "q", b"before", deadline=PATIENT) == b"erofeb"
        self.heard.clear()
        with bounded(threads=16, files=32):
            yield
            wait_until(lambda: self.relay.connected == {"a", "b"})
        assert not [asked for asked in self.heard if asked[0] != "c"]
        assert self.a.request("b", "q", b"after", deadline=PATIENT) == b"retfa"


@pytest.fixture(scope="module")
def relayed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relayed]:
    made = Relayed(tmp_path_factory.mktemp("relay"))
    yield made
    made.close()


def context(tls: TlsFiles | None, authority: Path) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(authority))
    made.set_alpn_protocols(["h2"])
    if tls is not None:
        made.load_cert_chain(tls.certificate, tls.key)
    return made


def told(relayed: Relayed, content: bytes, secured: ssl.SSLContext | None) -> bytes:
    """What the port answers; it need not read to the end, nor complete a handshake."""
    found = b""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", relayed.relay.port)) as plain:
        plain.settimeout(PATIENT)
        with secured.wrap_socket(plain, server_hostname="127.0.0.1") if secured else plain as connection:
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(1 << 16):
                found += part
    return found


def http2(hostile: Hostile) -> bytes:
    """Frames of HTTP/2 with wild lengths, types, flags and streams."""
    frames = b"\0\0\0\x04\0\0\0\0\0"
    for _ in range(hostile.rng.randrange(6)):
        body = hostile.noise(60)
        size = hostile.pick(len(body), len(body), 0, 1 << 14, (1 << 24) - 1)
        kind, flags = hostile.rng.randrange(12), hostile.rng.randrange(256)
        stream = hostile.pick(0, 1, 3, 2, (1 << 31) - 1, 0xFFFFFFFF)
        frames += struct.pack(">I", size)[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + body
    return PREFACE + frames if hostile.rng.random() < 0.9 else frames


def test_strangers_bytes_reach_nobody(relayed: Relayed, tmp_path: Path) -> None:
    hostile, authority = Hostile(4), relayed.authority.relay().authority
    foreign = Authority(tmp_path).silo("c")
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(64))
    clear = (hello, PREFACE, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", b"SSH-2.0-x\r\n")
    contexts = (context(None, authority), context(foreign, authority))
    with relayed.unharmed(), ThreadPoolExecutor(8) as pool:
        jobs: list[Future[bytes]] = []
        for _ in range(count(600)):
            secured = hostile.pick(None, None, *contexts)
            content = (
                http2(hostile) if secured else hostile.pick(hostile.noise(), hostile.damaged(hostile.pick(*clear)))
            )
            jobs.append(pool.submit(told, relayed, content, secured))
        answers = [job.result() for job in jobs]
    assert not [answer for answer in answers if b"grpc" in answer]
    assert relayed.relay.metrics.value("connected", silo="c") == 0


def test_a_members_garbage_below_grpc_ends_its_own_connection_alone(relayed: Relayed) -> None:
    hostile, tls = Hostile(5), relayed.authority.silo("c")
    secured = context(tls, tls.authority)
    with relayed.unharmed(), ThreadPoolExecutor(8) as pool:
        sent = [http2(hostile) for _ in range(count(400))]
        answers = list(pool.map(lambda content: told(relayed, content, secured), sent))
    assert any(answers), "none of it came as far as HTTP/2"


@contextlib.contextmanager
def channel(relayed: Relayed) -> Iterator[grpc.Channel]:
    certificate, key, authority = relayed.authority.silo("c").read()
    credentials = grpc.ssl_channel_credentials(authority, key, certificate)
    with grpc.secure_channel(relayed.address, credentials) as made:
        yield made


def test_a_members_malformed_frames_end_its_stream_and_reach_nobody(relayed: Relayed) -> None:
    hostile = Hostile(6)
    frames = [frame.encode() for frame in SENT]
    with relayed.unharmed(), channel(relayed) as opened:
        ends = set()
        for _ in range(count(800)):
            raw = [hostile.pick(hostile.damaged(hostile.pick(*frames)), hostile.noise())]
            if hostile.rng.random() < 0.2:
                raw = hostile.shuffled(frames) + raw
            call = opened.stream_stream(f"/{SERVICE}/{METHOD}")(iter(raw), timeout=PATIENT)
            try:
                list(call)
                ends.add("closed")
            except grpc.RpcError as error:
                ends.add(error.code().name)
        assert ends <= {"closed", "INVALID_ARGUMENT", "ABORTED", "UNAVAILABLE"}
        assert "INVALID_ARGUMENT" in ends
    assert relayed.relay.metrics.value("refusals_total", silo="c", reason="faulty") > 0


def test_other_methods_are_unknown_and_wild_bodies_answered_alike(relayed: Relayed) -> None:
    hostile = Hostile(7)
    known = {f"/{SERVICE}/{name}" for name in (METHOD, "Greet", "Newest")}
    names = [
        *known,
        "/phenofed.Relay/Detach",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/",
        "//",
    ]
    with relayed.unharmed(), channel(relayed) as opened:
        for _ in range(count(600)):
            method = hostile.pick(*names, "/" + hostile.noise(30).hex())
            body = hostile.pick(b"", hostile.noise(4000), b"{" * 3000, b'{"a":' * 900)
            call = opened.unary_stream(method)(body, timeout=PATIENT)
            try:
                assert sum(len(part) for part in call) < 1 << 20
            except grpc.RpcError as error:
                code = error.code()
                assert code is not grpc.StatusCode.UNKNOWN, (method, body[:80])
                assert method in known or code is grpc.StatusCode.UNIMPLEMENTED


class HostileRelay:
    """A server in the relay's place that says what it likes: one list of frames a stream."""

    def __init__(self, tls: TlsFiles, said: Iterator[list[bytes]]) -> None:
        certificate, key, authority = tls.read()
        self.streams, self.over = 0, threading.Event()
        self._said, self._lock = said, threading.Lock()
        self._server = grpc.server(ThreadPoolExecutor(8))
        handler = grpc.stream_stream_rpc_method_handler(self._attach)
        handlers = grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler})
        self._server.add_generic_rpc_handlers((handlers,))
        credentials = grpc.ssl_server_credentials([(key, certificate)], authority, require_client_auth=True)
        self.port = self._server.add_secure_port("127.0.0.1:0", credentials)
        self._server.start()

    def _attach(self, _: Iterator[bytes], call: Any) -> Iterator[bytes]:
        with self._lock:
            frames = next(self._said, None)
            self.streams += 1
        yield from OPENING if frames is None else frames
        if frames is None:
            # From now on it behaves.
            self.over.wait(PATIENT)

    def close(self) -> None:
        self.over.set()
        self._server.stop(0).wait()


@contextlib.contextmanager
def silo(folder: Path, said: Iterator[list[bytes]]) -> Iterator[tuple[RelayLink, HostileRelay]]:
    authority = Authority(folder)
    relay = HostileRelay(authority.relay(), said)
    link = RelayLink(
        f"127.0.0.1:{relay.port}",
        authority.silo("a"),
        "a",
        lambda sender, topic, body: body,
        limits=LinkLimits(patience=0.2),
        pace=Pace(opening=5),
        backoff=Backoff(random.Random(1), first=0.001, ceiling=0.001),
    )
    link.start()
    yield link, relay
    link.close()
    relay.close()


OPENING = [credit(1 << 20, about="", receiver="a").encode(), presence(["a", "b"], receiver="a").encode()]


def test_what_a_hostile_relay_says_ends_a_stream_and_never_the_link(tmp_path: Path) -> None:
    hostile = Hostile(8)
    frames = [
        *OPENING,
        Frame(Kind.REQUEST, "b", "a", "q", ID, length=5, deadline_ms=1000, body=b"hello").encode(),
        Frame(Kind.REPLY, "b", "a", message_id=ID, length=2, body=b"ok").encode(),
        Frame(Kind.ERROR, "b", "a", message_id=ID, length=3, status=Status.REFUSED, body=b"no!").encode(),
        Frame(Kind.HEARTBEAT).encode(),
    ]

    def said() -> Iterator[list[bytes]]:
        for _ in range(count(250)):
            damaged = hostile.damaged(hostile.pick(*frames)) if hostile.rng.random() < 0.8 else hostile.noise()
            yield [*(OPENING if hostile.rng.random() < 0.8 else []), *hostile.shuffled(frames), damaged]

    with silo(tmp_path, said()) as (link, relay), bounded(threads=24, files=32):
        wait_until(lambda: relay.streams > count(250), 300)
        assert link.wait_for("b", seconds=PATIENT)


def test_a_hostile_relay_fills_no_memory_of_a_silo(tmp_path: Path) -> None:
    names = (f"n{number}" for number in itertools.count())
    asks = [
        Frame(
            Kind.REQUEST, f"s{n % 4000}", "a", "q", os.urandom(16), length=4, deadline_ms=3_600_000, body=b"body"
        ).encode()
        for n in range(8000)
    ]
    unfinished = [replace(parse(ask), length=1 << 20, body=bytes(256 << 10)).encode() for ask in asks[:300]]
    told = [presence(["a", *itertools.islice(names, 500)], receiver="a").encode() for _ in range(40)]
    # No credit at all comes first: nothing that the silo answers can leave.
    flood = [presence(["a"], receiver="a").encode(), *told, *asks, *unfinished]
    seen = threading.Event()

    def said() -> Iterator[list[bytes]]:
        yield flood
        seen.set()

    held: list[tuple[int, ...]] = []
    with silo(tmp_path, said()) as (link, _):
        lose = link._connection._on_broken

        def look(why: str, is_final: bool) -> None:
            held.append((len(link._presence._left), link._assembler.held_bytes))
            lose(why, is_final)

        link._connection._on_broken = look
        boxes = []
        while not seen.wait(0.002):
            box = link._connection.outbox
            if box is not None:
                boxes.append((len(box._notices), len(box._messages), len(box._credit)))
        wait_until(lambda: bool(held))
    assert max(notices for notices, _, _ in boxes) <= MOST_NOTICES
    assert max(messages for _, messages, _ in boxes) <= MOST_REPLIES
    assert held[0][0] <= MAX_NAMES
    assert held[0][1] <= 256 << 20


def test_credit_for_ever_new_names_ends_the_stream() -> None:
    outbox = Outbox(lambda: 0.0)
    for number in range(MAX_NAMES):
        outbox.grant(f"n{number}", 1)
    outbox.grant("n5", 1)
    with pytest.raises(RelayError, match="a frame was refused"):
        outbox.grant("one more", 1)


def test_what_a_relay_does_not_take_is_dropped_in_the_end() -> None:
    outbox = Outbox(lambda: 0.0)
    for _ in range(2 * MOST_NOTICES):
        outbox.tell(Frame(Kind.HEARTBEAT))
    for number in range(2 * MOST_REPLIES):
        header = Frame(Kind.REPLY, "a", "b", message_id=number.to_bytes(16, "big"))
        outbox.put(Message(header, b"reply", until=9.0))
    assert len(outbox._notices) == MOST_NOTICES
    assert len(outbox._messages) == MOST_REPLIES
    large = Outbox(lambda: 0.0)
    body = bytes(MOST_REPLY_BYTES // 4)
    for number in range(6):
        header = Frame(Kind.REPLY, "a", "b", message_id=number.to_bytes(16, "big"))
        large.put(Message(header, body, until=9.0))
    assert len(large._messages) == 4
