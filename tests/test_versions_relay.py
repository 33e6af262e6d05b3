"""Silos and relays of different releases: who is let in, who is refused in words, what others learn of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from client.relay.stream import relay_hello
from common.errors import RelayError
from common.storage import write_json
from common.transport.notices import present, told
from common.transport.wire import METHOD, SERVICE, Kind, parse
from common.versions import BEFORE, METADATA, OWN, SOFTWARE, Hello
from server.relay.relay import Relay
from server.relay.traffic import RUNNING, traffic
from server.status import _silos
from tests.agents import wait_until
from tests.relay_consortium import PATIENT, RelayConsortium, raw_stream
from tests.versions import LATER, OTHERS


@pytest.fixture
def consortium(tmp_path: Path) -> Iterator[RelayConsortium]:
    made = RelayConsortium(tmp_path, "a", "b", "c")
    yield made
    made.close()


def test_silos_learn_what_the_others_and_the_relay_run_before_they_ask(consortium: RelayConsortium) -> None:
    newer = Hello("0.2.0", {**OWN.speaks, "relay": (2, 3), "ranking": (1, 4), "poetry": (7, 7)})
    a = consortium.link("a")
    b = consortium.link("b", hello=newer)
    assert a.wait_for("ab", seconds=PATIENT)
    assert b.wait_for("ab", seconds=PATIENT)
    assert (a.hello("b"), b.hello("a")) == (newer, OWN)
    assert (a.relay, b.relay) == (OWN, OWN)
    assert b.request("a", "q", b"fine", deadline=PATIENT) == b"fine"
    value = consortium.relay.metrics.value
    assert (
        value("silo_software", silo="a", version=SOFTWARE),
        value("silo_software", silo="b", version="0.2.0"),
    ) == (1, 1)
    b.close()
    wait_until(lambda: not value("silo_software", silo="b", version="0.2.0"))


def test_coordinator_status_names_the_release_of_each_hospital(
    consortium: RelayConsortium, tmp_path: Path
) -> None:
    link = consortium.link("b", hello=Hello("0.2.0", OWN.speaks))
    assert link.wait_for("b", seconds=PATIENT)
    port = consortium.relay.metrics.serve(0)
    write_json(tmp_path / RUNNING, {"version": 1, "port": consortium.relay.port, "metrics_port": port, "pid": 1})
    try:
        (found,) = traffic(tmp_path)
        assert (found.name, found.connected, found.software) == ("b", True, "0.2.0")
        assert "0.2.0" in list(_silos([found]).columns[-1].cells)
    finally:
        consortium.relay.metrics.close()


def test_a_silo_that_comes_back_with_another_release_is_known_by_that(consortium: RelayConsortium) -> None:
    a, first = consortium.link("a"), consortium.link("b")
    assert a.wait_for("ab", seconds=PATIENT)
    first.close()
    wait_until(lambda: "b" not in a.present())
    older = Hello("0.0.9", {**OWN.speaks, "relay": (1, 1)})
    consortium.link("b", hello=older)
    assert a.wait_for("ab", seconds=PATIENT)
    assert a.hello("b") == older


@pytest.mark.parametrize("theirs", [LATER, OTHERS])
def test_a_silo_without_a_version_in_common_is_present_to_nobody_and_both_sides_say_why(
    consortium: RelayConsortium, theirs: Hello, caplog: pytest.LogCaptureFixture
) -> None:
    a = consortium.link("a")
    assert a.wait_for("a", seconds=PATIENT)
    stranger = consortium.link("b", hello=theirs)
    with pytest.raises(RelayError, match="no version in common") as refused:
        stranger.request("a", "q", b"", deadline=PATIENT)
    assert f"the relay runs phenofed {SOFTWARE} (relay 1-2)" in str(refused.value)
    assert f"this silo runs phenofed {theirs.software}" in str(refused.value)
    assert consortium.relay.metrics.value("refusals_total", silo="b", reason="version") >= 1
    assert f"refused b: b runs phenofed {theirs.software}" in caplog.text
    assert consortium.relay.connected == {"a"}
    assert a.present() == set()
    assert a.hello("b") == BEFORE


def test_who_is_older_is_told_to_update(consortium: RelayConsortium) -> None:
    later = consortium.link("b", hello=LATER)
    wait_until(lambda: later.why_not is not None)
    assert str(later.why_not).endswith("update the relay")
    newest = Relay("127.0.0.1:0", consortium.authority.relay(), consortium.roster.get, hello=LATER)
    newest.start()
    try:
        link = consortium.link("c", address=f"127.0.0.1:{newest.port}")
        wait_until(lambda: link.why_not is not None)
        assert str(link.why_not).endswith("update this silo")
        assert newest.connected == frozenset()
        # A release of before versions has words for this status code alone.
        tls = consortium.authority.silo("a")
        outgoing = iter(threading.Event().wait, None)
        with raw_stream(f"127.0.0.1:{newest.port}", tls, outgoing) as call, pytest.raises(grpc.RpcError) as ended:
            list(call)
        assert ended.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert str(ended.value.details()).endswith("update a")
    finally:
        newest.stop()


def test_a_silo_that_no_longer_speaks_with_relays_of_before_versions_leaves_them(tmp_path: Path) -> None:
    consortium = RelayConsortium(tmp_path, "a", hello=BEFORE)
    modern = consortium.link("a", hello=LATER)
    wait_until(lambda: modern.why_not is not None)
    assert "the relay runs phenofed of before versions (relay 1)" in str(modern.why_not)
    wait_until(lambda: not consortium.relay.connected)
    consortium.close()


@pytest.mark.parametrize(
    "text", ["?", "0.1.0 relay", "0.1.0 relay=2-1", "0.1.0 " + "relay=1-1 " * 60, "0.1.0 relay=0-1"]
)
def test_a_hello_that_cannot_be_read_is_refused(consortium: RelayConsortium, text: str) -> None:
    certificate, key, authority = consortium.authority.silo("a").read()
    credentials = grpc.ssl_channel_credentials(authority, key, certificate)
    with grpc.secure_channel(consortium.address, credentials) as channel:
        call = channel.stream_stream(f"/{SERVICE}/{METHOD}")(
            iter(threading.Event().wait, None), metadata=((METADATA, text),), timeout=PATIENT
        )
        with pytest.raises(grpc.RpcError) as ended:
            list(call)
    assert ended.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "a hello cannot be read" in str(ended.value.details())


def test_who_speaks_an_older_relay_protocol_gets_no_frame_that_it_does_not_know(
    consortium: RelayConsortium,
) -> None:
    consortium.link("a").wait_for("a", seconds=PATIENT)
    with raw_stream(
        consortium.address, consortium.authority.silo("b"), iter(threading.Event().wait, None)
    ) as call:
        kinds = []
        for raw in call:
            frame = parse(raw)
            kinds.append(frame.kind)
            if frame.kind is Kind.PRESENCE and present(frame) == {"a", "b"}:
                break
    assert kinds == [Kind.CREDIT, Kind.PRESENCE]


def test_a_hello_stands_before_the_presence_that_it_is_for(consortium: RelayConsortium) -> None:
    consortium.link("a").wait_for("a", seconds=PATIENT)
    certificate, key, authority = consortium.authority.silo("b").read()
    credentials = grpc.ssl_channel_credentials(authority, key, certificate)
    with grpc.secure_channel(consortium.address, credentials) as channel:
        call = channel.stream_stream(f"/{SERVICE}/{METHOD}")(
            iter(threading.Event().wait, None), metadata=((METADATA, OWN.text),), timeout=PATIENT
        )
        frames = [parse(next(call)) for _ in range(3)]
        call.cancel()
    assert [frame.kind for frame in frames] == [Kind.CREDIT, Kind.HELLO, Kind.PRESENCE]
    assert (frames[1].sender, told(frames[1])) == ("a", OWN)


def test_the_relays_release_can_be_asked_without_disturbing_the_agent(consortium: RelayConsortium) -> None:
    a = consortium.link("a")
    assert a.wait_for("a", seconds=PATIENT)
    tls = consortium.authority.silo("a")
    assert relay_hello(consortium.address, tls, proxy=None, seconds=PATIENT) == OWN
    assert a.connected
    with pytest.raises(RelayError, match="does not know this hospital's certificate"):
        relay_hello(consortium.address, consortium.authority.silo("x"), proxy=None, seconds=PATIENT)
