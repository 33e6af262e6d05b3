"""Who the relay lets in, and what it does not let them do, over loopback with mutual TLS."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from client.relay.link import RelayLink
from common.errors import ConfigError, RelayError
from common.transport.wire import METHOD, SERVICE, Frame, Kind
from server.relay.limits import Limits
from server.relay.relay import Relay
from tests.relay_consortium import PATIENT, Gate, RelayConsortium, raw_stream
from tests.tls_files import Authority

ROOT = Path(__file__).parent.parent
LARGE = 20 << 20


@pytest.fixture
def consortium(tmp_path: Path) -> Iterator[RelayConsortium]:
    made = RelayConsortium(tmp_path, "a", "b", "c")
    yield made
    made.close()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as made:
        yield made


def test_a_certificate_that_is_not_on_the_roster_is_refused(consortium: RelayConsortium) -> None:
    stranger = consortium.link("stranger")
    with pytest.raises(RelayError, match="does not know this hospital's certificate"):
        stranger.request("a", "q", b"", deadline=PATIENT)
    assert consortium.relay.metrics.value("refusals_total", silo="", reason="unknown") >= 1


def test_a_certificate_speaks_for_its_own_silo_only(consortium: RelayConsortium) -> None:
    liar = consortium.link("a", tls=consortium.authority.silo("b"))
    with pytest.raises(RelayError, match="knows this certificate as 'b'"):
        liar.request("c", "q", b"", deadline=PATIENT)


def test_without_a_certificate_of_the_consortium_there_is_no_connection(
    consortium: RelayConsortium, tmp_path: Path
) -> None:
    root = (tmp_path / "ca.pem").read_bytes()
    channel = grpc.secure_channel(consortium.address, grpc.ssl_channel_credentials(root))
    with channel, pytest.raises(grpc.RpcError) as refused:
        next(channel.stream_stream(f"/{SERVICE}/{METHOD}")(iter([])))
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    foreign = replace(Authority(tmp_path / "other").silo("a"), authority=tmp_path / "ca.pem")
    with pytest.raises(RelayError, match="cannot be reached"):
        consortium.link("a", tls=foreign).request("b", "q", b"", deadline=PATIENT)
    assert not consortium.relay.connected


def test_a_silo_cannot_stand_for_the_relay(consortium: RelayConsortium) -> None:
    impostor = Relay("127.0.0.1:0", consortium.authority.silo("c"), consortium.roster.get)
    impostor.start()
    try:
        a = consortium.link("a", address=f"127.0.0.1:{impostor.port}")
        with pytest.raises(RelayError, match="cannot be reached"):
            a.request("b", "q", b"", deadline=PATIENT)
    finally:
        impostor.stop()


def test_a_revoked_silo_is_cut_off_at_once(consortium: RelayConsortium, pool: ThreadPoolExecutor) -> None:
    gate = Gate()
    consortium.link("b", gate)
    a, c = consortium.links("a", "c")
    asked = pool.submit(a.request, "b", "q", b"", deadline=PATIENT)
    assert gate.asked.wait(PATIENT)
    consortium.revoke("a")
    assert consortium.relay.connected == {"b", "c"}
    with pytest.raises(RelayError, match="the roster no longer lists it"):
        asked.result()
    gate.open.set()
    assert c.request("b", "q", b"xy", deadline=PATIENT) == b"yx"


def test_a_forged_sender_reaches_nobody_and_is_always_told(consortium: RelayConsortium) -> None:
    gate = Gate()
    consortium.link("b", gate)
    tls = consortium.authority.silo("c")
    for _ in range(40):
        forged = Frame(Kind.REQUEST, "a", "b", "q", os.urandom(16), length=1, deadline_ms=5000, body=b"x")
        with raw_stream(consortium.address, tls, iter([forged.encode()])) as call:
            with pytest.raises(grpc.RpcError) as ended:
                list(call)
            assert ended.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert not gate.asked.is_set()


def test_a_newer_stream_of_a_silo_ends_the_older(consortium: RelayConsortium) -> None:
    tls = consortium.authority.silo("c")
    with raw_stream(consortium.address, tls, iter(threading.Event().wait, None)) as first:
        next(first)
        with raw_stream(consortium.address, tls, iter(threading.Event().wait, None)) as second:
            next(second)
            with pytest.raises(grpc.RpcError) as ended:
                list(first)
            assert ended.value.code() is grpc.StatusCode.ABORTED
            assert consortium.relay.connected == {"c"}


def test_a_silo_that_asks_too_much_is_told_so(tmp_path: Path) -> None:
    limits = Limits(requests_a_second=0.001, requests_at_once=3)
    consortium = RelayConsortium(tmp_path, "a", "b", limits=limits)
    a, b = consortium.links("a", "b")
    for _ in range(3):
        a.request("b", "q", b"", deadline=PATIENT)
    with pytest.raises(RelayError, match="refuses more requests from this hospital"):
        a.request("b", "q", b"", deadline=PATIENT)
    assert b.request("a", "q", b"fine", deadline=PATIENT) == b"fine"
    consortium.close()


def test_two_relays_cannot_share_a_port(consortium: RelayConsortium) -> None:
    second = Relay(consortium.address, consortium.authority.relay(), consortium.roster.get)
    with pytest.raises(RelayError, match="cannot listen"):
        second.start()


def test_tls_files_that_cannot_be_used_are_named(consortium: RelayConsortium, tmp_path: Path) -> None:
    files = consortium.authority.silo("a")
    for broken in (replace(files, key=tmp_path / "none"), replace(files, certificate=Path(__file__))):
        with pytest.raises(ConfigError, match=r"none|is no PEM file"):
            RelayLink(consortium.address, broken, "a", lambda sender, topic, body: b"").start()


def test_the_relay_loads_neither_encryption_nor_learning() -> None:
    code = (
        "import sys, server.relay.relay, server.relay.running\n"
        "heavy = ('common.encryption', 'tenseal', 'torch', 'flwr', 'client')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert loaded.stdout.strip() == "[]"


def test_a_silo_that_reads_nothing_neither_fills_the_relay_nor_slows_others(
    consortium: RelayConsortium, pool: ThreadPoolExecutor
) -> None:
    with raw_stream(consortium.address, consortium.authority.silo("c"), iter(threading.Event().wait, None)):
        a, _ = consortium.links("a", "b")
        assert a.wait_for("abc", seconds=PATIENT)
        stuck = [pool.submit(a.request, "c", "q", bytes(LARGE), deadline=2) for _ in range(3)]
        for _ in range(20):
            assert a.request("b", "q", bytes(100_000), deadline=PATIENT) == bytes(100_000)
            assert consortium.relay.metrics.value("queue_bytes", silo="c") <= 1 << 20
        for request in stuck:
            with pytest.raises(RelayError, match="c did not answer in time"):
                request.result()
    # What passed is a window in the relay and what the network itself holds, not what was to be sent.
    assert consortium.relay.metrics.value("bytes_total", silo="a", to="c") < LARGE
