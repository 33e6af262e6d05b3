"""What the relay writes down of those it refused: who and why, in a file that nobody can fill."""

from __future__ import annotations

import json
import socket
import stat
from pathlib import Path
from typing import Any

import grpc
import pytest

from common.errors import RelayError
from common.transport.tls import spki_of
from server.relay import relay
from server.relay.refusals import FILE, FORMER, PACE, RefusalLog
from tests.hostile_bytes import Hostile
from tests.relay_consortium import PATIENT, RelayConsortium, raw_stream


def lines(folder: Path, name: str = FILE) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def test_strangers_revoked_silos_and_faulty_frames_are_written_down(tmp_path: Path) -> None:
    consortium = RelayConsortium(tmp_path, "a", "b")
    consortium.relay.metrics.on_refusal = RefusalLog(tmp_path).note
    try:
        with pytest.raises(RelayError, match="does not know this hospital's certificate"):
            consortium.link("stranger").request("a", "q", b"", deadline=PATIENT)
        consortium.links("b")
        consortium.revoke("b")
        noise = iter([Hostile(1).noise()])
        with (
            raw_stream(consortium.address, consortium.authority.silo("a"), noise) as call,
            pytest.raises(grpc.RpcError),
        ):
            list(call)
    finally:
        consortium.close()
    found = {(line["silo"], line["why"], line["key"]) for line in lines(tmp_path)}
    keys = {name: spki_of((tmp_path / f"{name}.crt").read_bytes()) for name in ("stranger", "b")}
    assert found >= {("", "unknown", keys["stranger"]), ("b", "revoked", keys["b"]), ("a", "faulty", "")}
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


def test_who_knocks_without_end_leaves_a_line_a_minute(tmp_path: Path) -> None:
    now = [0.0]
    log = RefusalLog(tmp_path, clock=lambda: now[0])
    for _ in range(1000):
        log.note("a", "faulty", "")
    log.note("a", "unreachable", "")
    assert [line["times"] for line in lines(tmp_path)] == [1]
    now[0] = PACE + 1
    log.note("a", "faulty", "")
    assert [line["times"] for line in lines(tmp_path)] == [1, 1000]


def test_the_file_is_bounded_however_many_keys_are_shown(tmp_path: Path) -> None:
    log = RefusalLog(tmp_path, largest=2000)
    for number in range(5000):
        log.note("", "unknown", f"{number:064x}")
    assert (tmp_path / FILE).stat().st_size + (tmp_path / FORMER).stat().st_size < 5000
    assert lines(tmp_path, FORMER)


def test_a_disk_that_refuses_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    RefusalLog(tmp_path / "none").note("a", "faulty", "")
    assert "could not be written down" in caplog.text


def test_who_connects_and_says_nothing_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "grpc.server_handshake_timeout_ms"
    assert dict(relay._OPTIONS)[name] <= 10_000
    monkeypatch.setattr(relay, "_OPTIONS", [*[kept for kept in relay._OPTIONS if kept[0] != name], (name, 200)])
    consortium = RelayConsortium(tmp_path, "a")
    try:
        with socket.create_connection(("127.0.0.1", consortium.relay.port)) as silent:
            silent.settimeout(PATIENT)
            assert silent.recv(1) == b""
    finally:
        consortium.close()
