"""Silos that talk through a relay, over loopback with mutual TLS: refusals, faults, slow and hostile peers."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from client.relay.connection import Pace
from client.relay.link import LinkLimits
from client.relay.service import ServiceLimits
from common.errors import DisclosureError, RelayError
from common.transport.refusal import PeerRefusal
from common.transport.wire import CHUNK, MAX_MESSAGE
from server.relay.limits import Limits
from tests.relay_consortium import PATIENT, Gate, Proxy, RelayConsortium

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


def test_a_request_comes_with_sender_and_topic_and_its_reply_goes_back(consortium: RelayConsortium) -> None:
    consortium.link("b", lambda sender, topic, body: f"{sender} {topic} ".encode() + body)
    a = consortium.link("a")
    assert a.wait_for("ab", seconds=PATIENT)
    assert a.connected
    assert a.present() == {"b"}
    assert a.request("b", "rank.query", b"body", deadline=PATIENT) == b"a rank.query body"
    assert consortium.relay.connected == {"a", "b"}


def test_messages_of_any_size_arrive_whole(consortium: RelayConsortium) -> None:
    a, _ = consortium.links("a", "b")
    for size in (0, 1, 256 << 10, (256 << 10) + 1, LARGE):
        body = os.urandom(size)
        assert a.request("b", "echo", body, deadline=PATIENT) == body
    with pytest.raises(RelayError, match="too large"):
        a.request("b", "echo", bytes(MAX_MESSAGE + 1), deadline=PATIENT)


def test_small_messages_pass_a_large_one(consortium: RelayConsortium, pool: ThreadPoolExecutor) -> None:
    handled: list[int] = []

    def note(sender: str, topic: str, body: bytes) -> bytes:
        handled.append(len(body))
        return b""

    consortium.link("b", note)
    a = consortium.link("a")
    assert a.wait_for("ab", seconds=PATIENT)
    large = pool.submit(a.request, "b", "keys", bytes(LARGE), deadline=PATIENT)
    passed = 0
    while not large.done():
        is_under_way = consortium.relay.metrics.value("bytes_total", silo="a", to="b") > CHUNK
        a.request("b", "query", bytes(1000), deadline=PATIENT)
        passed += is_under_way and LARGE not in handled
    assert large.result() == b""
    assert passed > 0


def test_twelve_silos_ask_each_other_all_at_once(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    names = [f"silo-{number}" for number in range(12)]
    consortium = RelayConsortium(tmp_path, *names)
    links = consortium.links(*names)
    bodies = {(x, y): os.urandom(30_000) for x in names for y in names if x != y}
    asked = {
        (link.name, to): pool.submit(link.request, to, "q", bodies[link.name, to], deadline=PATIENT)
        for link in links
        for to in names
        if to != link.name
    }
    assert {pair: future.result() for pair, future in asked.items()} == bodies
    consortium.close()


def test_a_refusal_of_the_other_silo_comes_in_its_words_and_a_fault_without(consortium: RelayConsortium) -> None:
    def refuse(sender: str, topic: str, body: bytes) -> bytes:
        if topic == "rank":
            raise DisclosureError("12 units remain", remedy="ask less")
        raise ValueError("patient 17")

    consortium.link("b", refuse)
    a = consortium.link("a")
    assert a.wait_for("ab", seconds=PATIENT)
    with pytest.raises(PeerRefusal) as refused:
        a.request("b", "rank", b"", deadline=PATIENT)
    assert (str(refused.value), refused.value.exit_code) == ("b: 12 units remain: ask less", 10)
    with pytest.raises(PeerRefusal) as failed:
        a.request("b", "other", b"", deadline=PATIENT)
    assert "17" not in str(failed.value)


def test_a_silo_that_is_not_there_is_named(consortium: RelayConsortium) -> None:
    (a,) = consortium.links("a")
    with pytest.raises(RelayError, match="c is not connected"):
        a.request("c", "q", b"", deadline=PATIENT)
    with pytest.raises(RelayError, match="no deadline"):
        a.request("c", "q", b"", deadline=0)


def test_no_reply_in_time_is_an_error_and_the_link_goes_on(consortium: RelayConsortium) -> None:
    gate = Gate()
    consortium.link("b", gate)
    a = consortium.link("a")
    assert a.wait_for("ab", seconds=PATIENT)
    with pytest.raises(RelayError, match="b did not answer in time"):
        a.request("b", "q", b"", deadline=0.3)
    gate.open.set()
    assert a.request("b", "q", b"xy", deadline=PATIENT) == b"yx"


def test_a_relay_that_restarts_in_mid_request_costs_no_reply_and_no_second_call(
    consortium: RelayConsortium, pool: ThreadPoolExecutor
) -> None:
    gate = Gate()
    consortium.link("b", gate, limits=LinkLimits(patience=PATIENT))
    a = consortium.link("a", limits=LinkLimits(patience=PATIENT))
    assert a.wait_for("ab", seconds=PATIENT)
    asked = pool.submit(a.request, "b", "q", b"once", deadline=PATIENT)
    assert gate.asked.wait(PATIENT)
    consortium.relay.stop()
    # The reply is made while there is no stream that it could go by.
    gate.open.set()
    consortium.restart()
    assert asked.result() == b"ecno"
    assert gate.calls == 1


SILO = """
import sys, threading
from pathlib import Path
from client.relay.link import RelayLink
from common.transport.tls import TlsFiles


def handle(sender, topic, body):
    print("asked", flush=True)
    threading.Event().wait()

folder = Path(sys.argv[2])
link = RelayLink(sys.argv[1], TlsFiles(folder / "b.crt", folder / "b.key", folder / "ca.pem"), "b", handle)
link.start()
threading.Event().wait()
"""


def test_a_silo_killed_in_mid_request_is_named_to_the_asker(
    consortium: RelayConsortium, pool: ThreadPoolExecutor, tmp_path: Path
) -> None:
    consortium.authority.silo("b")
    (a,) = consortium.links("a")
    command = [sys.executable, "-c", SILO, consortium.address, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as silo:
        assert silo.stdout is not None
        assert a.wait_for("b", seconds=PATIENT)
        asked = pool.submit(a.request, "b", "q", b"", deadline=PATIENT)
        assert silo.stdout.readline() == b"asked\n"
        silo.kill()
    with pytest.raises(RelayError, match="b is not connected"):
        asked.result()


def test_a_proxy_that_cuts_idle_connections_does_not_matter(tmp_path: Path) -> None:
    consortium = RelayConsortium(tmp_path, "a", "b", limits=Limits(heartbeat_seconds=0.2))
    proxy = Proxy(consortium.address, idle=1.0)
    a = consortium.link("a", address=proxy.address, pace=Pace(heartbeat=0.2, opening=5))
    assert a.wait_for([], seconds=PATIENT)
    began = time.monotonic()
    while time.monotonic() < began + 2.2:
        assert proxy.pieces.acquire(timeout=PATIENT)
    assert not proxy.cut.is_set()
    assert proxy.connections == 1
    consortium.close()
    proxy.close()


def test_a_stream_that_is_cut_comes_back(consortium: RelayConsortium) -> None:
    proxy = Proxy(consortium.address, idle=0.3)
    consortium.links("b")
    a = consortium.link("a", address=proxy.address)
    assert proxy.cut.wait(PATIENT)
    assert a.wait_for("ab", seconds=PATIENT)
    assert a.request("b", "q", b"again", deadline=PATIENT) == b"again"
    assert proxy.connections > 1
    proxy.close()


def test_a_relay_that_falls_silent_is_left(consortium: RelayConsortium) -> None:
    silent = Proxy(consortium.address)
    # The relay beats every 20 s; this silo expects it every 0.1 s and so takes it for dead.
    a = consortium.link("a", address=silent.address, pace=Pace(heartbeat=0.1, opening=5))
    assert a.wait_for([], seconds=PATIENT)
    for _ in range(2):
        connections = silent.connections
        while silent.connections == connections:
            assert silent.pieces.acquire(timeout=PATIENT)
    silent.close()


def test_the_proxy_is_the_one_of_the_settings_and_never_of_the_environment(
    consortium: RelayConsortium, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "no_grpc_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    wrong, right = Proxy(), Proxy()
    for name in ("https_proxy", "http_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, f"http://{wrong.address}")
    a = consortium.link("a", proxy=f"http://{right.address}")
    consortium.link("b")
    assert a.wait_for("ab", seconds=PATIENT)
    assert a.request("b", "q", b"through", deadline=PATIENT) == b"through"
    assert right.connections >= 1
    assert wrong.connections == 0
    wrong.close()
    right.close()


def test_a_busy_silo_says_so_and_answers_what_it_took(
    consortium: RelayConsortium, pool: ThreadPoolExecutor
) -> None:
    gate = Gate()
    consortium.link("b", gate, limits=LinkLimits(service=ServiceLimits(handlers=1, sender_waiting=2)))
    a = consortium.link("a")
    assert a.wait_for("ab", seconds=PATIENT)
    asked = [pool.submit(a.request, "b", "q", b"xy", deadline=PATIENT) for _ in range(3)]
    refused, taken = wait(asked, timeout=PATIENT, return_when=FIRST_COMPLETED)
    for request in refused:
        with pytest.raises(RelayError, match="b is busy"):
            request.result()
    gate.open.set()
    assert [request.result() for request in taken] == [b"yx"] * 2


def test_a_closed_link_ends_its_requests(consortium: RelayConsortium, pool: ThreadPoolExecutor) -> None:
    gate = Gate()
    consortium.link("b", gate)
    a = consortium.link("a")
    assert a.wait_for("ab", seconds=PATIENT)
    asked = pool.submit(a.request, "b", "q", b"", deadline=PATIENT)
    assert gate.asked.wait(PATIENT)
    a.close()
    with pytest.raises(RelayError, match="closed"):
        asked.result()
    gate.open.set()
