"""The agent's door for its own hospital: private, patient with nonsense, and one agent a workspace."""

from __future__ import annotations

import contextlib
import getpass
import logging
import os
import resource
import socket
import stat
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from client.agent import Agent
from client.local.address import serves
from client.local.door import LocalServer, Request, call
from client.workspace.workspace import Workspace
from common.errors import AgentError, ConfigError, DisclosureError, PhenofedError, PhotoError
from tests.agents import PATIENT, Hospitals, found_hospitals, hospitals, phenofed, photo, set_policy, wait_until


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospitals]:
    """One hospital of four, whose agent runs."""
    names = ("alpha", "beta", "gamma", "delta")
    with hospitals(found_hospitals(tmp_path_factory.mktemp("c") / "c", names)) as made:
        made.start("alpha")
        yield made


@pytest.fixture
def path(alone: Hospitals) -> Path:
    return alone.agents["alpha"].workspace.socket_path


def raw(path: Path, content: bytes) -> bytes:
    """What the agent answers to bytes that end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(str(path))
        found = b""
        with contextlib.suppress(ConnectionError):  # the agent need not read to the end
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(1 << 16):
                found += part
        return found


def framed(*parts: bytes) -> bytes:
    return struct.pack(">I", len(parts)) + b"".join(struct.pack(">Q", len(part)) + part for part in parts)


def test_only_the_owner_can_open_the_door(path: Path) -> None:
    assert stat.S_ISSOCK(path.stat().st_mode)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"\xff" * 12, framed(b"half")[:-1], struct.pack(">I", 1 << 20)],
)
def test_what_is_no_message_is_cut_off(path: Path, content: bytes) -> None:
    assert raw(path, content) == b""
    assert call(path, "status", {})["name"] == "alpha"


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"no json",
        b"[]",
        b"3",
        b"{}",
        b'{"operation": "rank"}',
        b'{"operation": "rank", "patients": [["a"]], "top": 1, "keep": false, "aligned": true}',
        b'{"operation": "rank", "patients": [["a", 1e999]], "top": 1, "keep": false, "aligned": true}',
        b'{"operation": "rank", "patients": 3, "top": 1, "keep": false, "aligned": true}',
        b'{"operation": "keys", "action": {"a": [1]}, "x": ' + b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_what_is_no_request_is_refused_in_one_line(path: Path, head: bytes) -> None:
    answer = raw(path, framed(head))
    assert b"does not understand the request" in answer
    assert b"\n" not in answer
    assert call(path, "status", {})["name"] == "alpha"


@pytest.mark.parametrize(
    ("values", "photos", "kind"),
    [
        ({"patients": []}, 0, ConfigError),
        ({"patients": [["p", 1]] * 65}, 65, ConfigError),
        ({"patients": [["p", 33]]}, 33, ConfigError),
        ({"patients": [["p", 0]]}, 0, ConfigError),
        ({"patients": [["p", -1], ["q", 2]]}, 1, ConfigError),
        ({"patients": [["p", 2]]}, 1, PhotoError),
        ({"patients": [["p", 1]], "keep": True}, 1, DisclosureError),
    ],
)
def test_rankings_that_are_not_asked_for_properly_are_refused(
    path: Path, values: dict[str, Any], photos: int, kind: type[PhenofedError]
) -> None:
    with pytest.raises(kind) as refused:
        call(path, "rank", {"top": 10, "keep": False, "aligned": True} | values, [photo(1)] * photos)
    assert "\n" not in str(refused.value)


def test_an_unknown_operation_is_named_and_the_agent_goes_on(path: Path) -> None:
    with pytest.raises(AgentError, match="knows no 'dance'"):
        call(path, "dance", {})
    assert call(path, "status", {})["connected"]


def test_a_fault_in_the_agent_tells_nothing_of_a_patient(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def handle(request: Request) -> dict[str, Any]:
        raise RuntimeError("patient 4711")

    server = LocalServer(tmp_path / "s", handle)
    try:
        with caplog.at_level(logging.DEBUG), pytest.raises(AgentError, match="failed over the request") as told:
            call(tmp_path / "s", "rank", {})
    finally:
        server.close()
    assert "RuntimeError" in caplog.text
    assert "4711" not in caplog.text + str(told.value)
    assert not (tmp_path / "s").exists()


def test_a_second_agent_is_refused_and_the_first_serves_on(alone: Hospitals, path: Path) -> None:
    with pytest.raises(AgentError, match="an agent serves this workspace already"):
        Agent(Workspace(alone.folder / "alpha"), workers=1).start()
    assert call(path, "status", {})["name"] == "alpha"
    refused = phenofed("silo", "up", alone.folder / "alpha").exception
    assert isinstance(refused, AgentError)
    assert call(path, "status", {})["name"] == "alpha"


def test_the_socket_of_an_agent_that_was_killed_is_taken_over(tmp_path: Path) -> None:
    left = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    left.bind(str(tmp_path / "s"))
    left.close()
    with pytest.raises(AgentError, match="phenofed silo up"):
        call(tmp_path / "s", "status", {})
    server = LocalServer(tmp_path / "s", lambda request: {"seen": request.operation})
    assert call(tmp_path / "s", "status", {}) == {"seen": "status"}
    server.close()


def test_without_an_agent_the_clinician_is_told_what_to_do(alone: Hospitals, tmp_path: Path) -> None:
    picture = tmp_path / "p.png"
    picture.write_bytes(photo(1))
    refused = phenofed("rank", picture, "--patient", "17", "--workspace", alone.folder / "beta").exception
    assert isinstance(refused, AgentError)
    assert "phenofed silo up" in str(refused)
    with pytest.raises(AgentError, match="cannot make"):
        LocalServer(tmp_path / "missing" / "agent.sock", lambda request: {})


def test_up_says_in_one_line_what_is_missing(alone: Hospitals, tmp_path: Path) -> None:
    workspace = alone.folder / "gamma"
    for missing, remedy in (
        ("ledger.sqlite", "restore it from a backup"),
        ("gallery/gallery.safetensors", "restore it from a backup"),
        ("registry.json", "newer kit"),
        ("certificate.pem", "silo join"),
        ("policy.yaml", "silo join"),
        ("release/federated.manifest.json", "holds no release"),
        ("private.key", "silo init"),
    ):
        held = (workspace / missing).rename(tmp_path / "held")
        refused = phenofed("silo", "up", workspace).exception
        held.rename(workspace / missing)
        assert isinstance(refused, PhenofedError), missing
        assert remedy in str(refused), missing
        assert "\n" not in str(refused)
        assert not (workspace / "agent.sock").exists()
    set_policy(workspace, model=None)
    refused = phenofed("silo", "up", workspace).exception
    assert "the policy names no model" in str(refused)


def test_an_answer_on_its_way_leaves_before_the_door_is_shut(tmp_path: Path) -> None:
    closing = threading.Event()

    def handle(request: Request) -> dict[str, Any]:
        closing.set()
        # As an agent that is told to stop: it closes its door while the answer is not yet written.
        shutting.wait(5)
        return {"stops": True}

    shutting = threading.Event()
    server = LocalServer(tmp_path / "s", handle)
    answers: list[dict[str, Any]] = []
    asking = threading.Thread(target=lambda: answers.append(call(tmp_path / "s", "stop", {})))
    asking.start()
    assert closing.wait(5)
    threading.Timer(0.2, shutting.set).start()
    server.close()
    asking.join(5)
    assert answers == [{"stops": True}]


def silent(path: Path, content: bytes = b"") -> socket.socket:
    """Somebody who connects, sends ``content`` and then nothing."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(5)
    connection.connect(str(path))
    connection.sendall(content)
    return connection


def test_those_who_hold_the_door_open_are_cut_off_and_make_no_threads_without_end(tmp_path: Path) -> None:
    server = LocalServer(tmp_path / "s", lambda request: {}, connections=2, patience=0.3)
    before = threading.active_count()
    try:
        with contextlib.ExitStack() as stack:
            half = struct.pack(">IQ", 1, 1000) + b"half"
            held = [stack.enter_context(silent(tmp_path / "s", half)) for _ in range(6)]
            assert call(tmp_path / "s", "status", {}) == {}
            assert threading.active_count() <= before + 2
            assert held[0].recv(1) == b""
    finally:
        server.close()


def test_who_does_not_take_the_answer_is_left(tmp_path: Path) -> None:
    server = LocalServer(tmp_path / "s", lambda request: {"much": "x" * (8 << 20)}, connections=1, patience=0.3)
    try:
        with silent(tmp_path / "s", framed(b'{"operation": "x"}')):
            assert len(call(tmp_path / "s", "x", {})["much"]) == 8 << 20
    finally:
        server.close()


def test_a_request_that_is_too_large_is_told_so(tmp_path: Path) -> None:
    server = LocalServer(tmp_path / "s", lambda request: {}, most_bytes=1 << 20)
    try:
        with pytest.raises(AgentError, match="too large for the agent"):
            call(tmp_path / "s", "rank", {}, [bytes(8 << 20)])
        assert b"too large for the agent" in raw(tmp_path / "s", struct.pack(">IQ", 1, 1 << 40))
        assert call(tmp_path / "s", "status", {}) == {}
    finally:
        server.close()


def test_an_agent_that_ran_out_of_files_opens_its_door_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = LocalServer(tmp_path / "s", lambda request: {})
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    asking = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    asking.settimeout(PATIENT)
    try:
        used = max(int(name) for name in os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 1, hard))
        filler = []
        with contextlib.suppress(OSError):
            while True:
                filler.append(os.dup(0))
        asking.connect(str(tmp_path / "s"))
        wait_until(lambda: "was not taken in" in caplog.text)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for handle in filler:
            os.close(handle)
    with asking:
        asking.sendall(framed(b'{"operation": "x"}'))
        assert b"ok" in asking.recv(100)
    server.close()


def test_a_workspace_may_lie_deeper_than_a_sockets_address_is_long(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a folder of a hospital"] * 6)
    deep.mkdir(parents=True)
    path = deep / "agent.sock"
    assert len(str(path)) > 200
    path.write_text("left by a killed agent")
    assert not serves(path)
    before = set(os.listdir("/proc/self/fd"))
    server = LocalServer(path, lambda request: {"user": request.user})
    try:
        assert call(path, "who", {})["user"] == getpass.getuser()
        assert serves(path)
        with pytest.raises(AgentError, match="serves this workspace already"):
            LocalServer(path, lambda request: {})
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        server.close()
    assert not path.exists()
    # Other tests' threads open and close files of their own; those of this folder are all closed.
    left = [os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if name not in before]
    assert str(deep) not in left
