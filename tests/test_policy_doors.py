"""Who may open the agent's doors: by OS group, as the kernel says it, with a line for whoever may not."""

from __future__ import annotations

import grp
import os
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from client.local.clinic_door import door_at, for_clinic
from client.local.door import LocalServer, Request, call
from client.local.peers import Peer, admitted, peer_of
from common.errors import AgentError, DisclosureError, PhenofedError

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
DOCTOR, NURSE, CLINIC, OTHERS = 61001, 61002, 61100, 61200


@pytest.mark.parametrize(
    ("peer", "group", "opens"),
    [
        (Peer(1000, frozenset({1000})), None, True),
        (Peer(1000, frozenset({1000})), CLINIC, True),
        (Peer(DOCTOR, frozenset({DOCTOR, CLINIC})), CLINIC, True),
        (Peer(DOCTOR, frozenset({CLINIC})), CLINIC, True),
        (Peer(DOCTOR, frozenset({DOCTOR, OTHERS})), CLINIC, False),
        (Peer(DOCTOR, frozenset({DOCTOR, CLINIC})), None, False),
        (Peer(0, frozenset({0})), None, False),
        (Peer(0, frozenset({0})), CLINIC, False),
    ],
)
def test_a_door_opens_to_its_owner_and_to_members_of_its_group_alone(
    peer: Peer, group: int | None, opens: bool
) -> None:
    assert admitted(peer, owner=1000, group=group) is opens


def test_the_kernel_says_who_connected() -> None:
    here, there = socket.socketpair()
    with here, there:
        peer = peer_of(here)
    assert peer.uid == os.geteuid()
    assert os.getegid() in peer.groups


@pytest.fixture
def door() -> Iterator[tuple[Path, list[str], list[str]]]:
    """A door for the group ``CLINIC`` where everybody reaches it; who was served, and who was turned away."""
    served: list[str] = []
    strangers: list[str] = []

    def handle(request: Request) -> dict[str, Any]:
        served.append(request.user)
        return {}

    with tempfile.TemporaryDirectory() as folder:  # other users cannot enter pytest's own folders
        Path(folder).chmod(0o755)
        place = Path(folder) / "d.sock"
        server = LocalServer(place, handle, group=grp.getgrgid(os.getegid()).gr_name, stranger=strangers.append)
        if os.geteuid() == 0:
            server._group = CLINIC
            os.chown(place, -1, CLINIC)
        yield place, served, strangers
        server.close()


@ROOT
def test_other_users_come_in_by_their_group_and_by_nothing_else(door: tuple[Path, list[str], list[str]]) -> None:
    place, served, strangers = door
    assert stat.S_IMODE(place.stat().st_mode) == 0o660
    assert _as(DOCTOR, [DOCTOR, CLINIC], place) == "done"
    assert served == [f"uid {DOCTOR}"]
    assert _as(NURSE, [NURSE, OTHERS], place) == "AgentError", "the file's mode keeps them out"
    place.chmod(0o666)
    assert _as(NURSE, [NURSE, OTHERS], place) == "DisclosureError", "and so does the door"
    assert (served, strangers) == ([f"uid {DOCTOR}"], [f"uid {NURSE}"])


def test_a_stranger_is_told_so_and_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    strangers: list[str] = []
    server = LocalServer(tmp_path / "d.sock", lambda request: {}, stranger=strangers.append)
    try:
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr(os, "geteuid", lambda: 4242)  # the agent is another user's
            with pytest.raises(DisclosureError, match="may not ask the agent"):
                call(tmp_path / "d.sock", "rank", {})
        assert strangers == [Peer(os.geteuid(), frozenset()).user]
        call(tmp_path / "d.sock", "rank", {})
    finally:
        server.close()


@pytest.mark.parametrize(
    ("operation", "offered"),
    [
        ("rank", True),
        ("status", True),
        ("budget", True),
        ("discover.ask", True),
        ("stop", False),
        ("keys", False),
        ("epoch", False),
        ("look", False),
        ("", False),
    ],
)
def test_the_clinics_door_offers_questions_and_not_the_agent(operation: str, offered: bool) -> None:
    asked: list[str] = []

    def handle(request: Request) -> dict[str, Any]:
        asked.append(request.operation)
        return {}

    request = Request(operation, {}, (), "ines")
    if offered:
        assert for_clinic(handle)(request) == {}
    else:
        with pytest.raises(DisclosureError, match="does not offer"):
            for_clinic(handle)(request)
    assert asked == [operation] * offered


def test_a_socket_is_asked_itself_and_a_workspace_by_its_own(tmp_path: Path) -> None:
    server = LocalServer(tmp_path / "clinic.sock", lambda request: {"by": request.user})
    try:
        assert door_at(tmp_path / "clinic.sock") == tmp_path / "clinic.sock"
    finally:
        server.close()
    with pytest.raises(AgentError, match="holds no workspace"):
        door_at(tmp_path)


def _as(user: int, groups: list[int], place: Path) -> str:
    """What a process of ``user`` with ``groups`` gets: 'done', or the name of the error."""

    def ask() -> str:
        os.setgroups(groups)
        os.setgid(groups[0])
        os.setuid(user)
        try:
            call(place, "rank", {})
        except PhenofedError as error:
            return type(error).__name__
        return "done"

    return _forked(ask)


def _forked(work: Callable[[], str]) -> str:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, work().encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        said = answer.read()
    os.waitpid(child, 0)
    return said
