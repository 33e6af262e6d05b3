"""``phenofed coordinator up|status``: the relay as a process, its roster and its end."""

from __future__ import annotations

import contextlib
import datetime
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from client.relay.link import LinkLimits, RelayLink
from common.consortium.identity import Member
from common.consortium.roster import Roster, RosterMember, write_roster
from common.errors import ConfigError, RelayError
from common.storage import write_bytes, write_text
from server.relay.roster import WatchedRoster
from server.relay.settings import read_settings
from server.relay.traffic import traffic
from tests.relay_consortium import PATIENT
from tests.tls_files import Authority

ROOT = Path(__file__).parent.parent
COMMAND = [sys.executable, "-c", "from common.cli import main; main()", "coordinator"]


class RelayFolder:
    """What the operator copied to the relay's machine."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.authority = Authority(path)
        self.key = Ed25519PrivateKey.generate()
        self.public = self.key.public_key().public_bytes_raw()
        self.authority.relay()
        self.roster = Roster("test", "127.0.0.1:443", "0" * 64, "0" * 64)
        settings = {
            "address": "127.0.0.1",
            "port": 0,
            "certificate": "relay.crt",
            "key": "relay.key",
            "ca": "ca.pem",
            "roster": "roster.json",
            "roster_key": self.public.hex(),
        }
        write_text(path / "relay.yaml", yaml.safe_dump(settings))

    def publish(self, *names: str) -> Roster:
        """Sign the next roster."""
        members = [
            RosterMember(Member(name).card, self.authority.spki(name), name, "it@h.org", datetime.date(2026, 1, 1))
            for name in names
        ]
        self.roster = self.roster.succeeded_by(members)
        write_bytes(self.path / "roster.json", write_roster(self.roster, self.key))
        return self.roster


@pytest.fixture
def folder(tmp_path: Path) -> RelayFolder:
    made = RelayFolder(tmp_path)
    made.publish("a", "b")
    return made


@contextlib.contextmanager
def relay_process(folder: RelayFolder) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The running command, and the line that it printed when it was ready."""
    command = [*COMMAND, "up", str(folder.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline()
        finally:
            process.kill()


def test_the_relay_runs_follows_its_roster_and_ends_cleanly(folder: RelayFolder) -> None:
    with relay_process(folder) as (process, line):
        assert line.startswith("relay of test ready on port ")
        port = json.loads((folder.path / "running.json").read_text())["port"]
        a, b = (
            RelayLink(
                f"127.0.0.1:{port}",
                folder.authority.silo(name),
                name,
                lambda sender, topic, body: body,
                limits=LinkLimits(patience=PATIENT),
            )
            for name in "ab"
        )
        a.start()
        b.start()
        assert a.wait_for("ab", seconds=PATIENT)
        assert a.request("b", "q", b"x" * 1000, deadline=PATIENT) == b"x" * 1000
        shown = subprocess.run(
            [*COMMAND, "status", str(folder.path)], capture_output=True, text=True, check=True, cwd=ROOT
        )
        assert [row.split()[1:6:2] for row in shown.stdout.splitlines() if "yes" in row] == [
            ["a", "yes", "1"],
            ["b", "yes", "0"],
        ]
        first, second = traffic(folder.path)
        assert (first.name, first.connected, first.requests, second.requests) == ("a", True, 1, 0)
        assert first.bytes > 1000

        folder.publish("a")
        assert process.stdout is not None
        assert process.stdout.readline() == "roster 3: 1 members\n"
        with pytest.raises(RelayError, match="roster no longer lists it"):
            b.request("a", "q", b"", deadline=PATIENT)
        a.close()
        b.close()
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=PATIENT)
    assert process.returncode == 130
    assert errors.splitlines() == ["phenofed: interrupted; nothing that was finished is lost"]
    assert not (folder.path / "running.json").exists()


def test_a_folder_without_a_running_relay_has_no_status(folder: RelayFolder) -> None:
    with pytest.raises(RelayError, match="no relay runs from"):
        traffic(folder.path)
    write_text(folder.path / "running.json", "{")
    with pytest.raises(RelayError, match="damaged"):
        traffic(folder.path)


def test_a_roster_of_another_key_does_not_begin(folder: RelayFolder) -> None:
    with pytest.raises(ConfigError, match="the roster was refused"):
        WatchedRoster(folder.path / "roster.json", bytes(32))
    (folder.path / "roster.json").unlink()
    with pytest.raises(ConfigError, match="cannot read"):
        WatchedRoster(folder.path / "roster.json", folder.public)


def test_only_a_successor_replaces_the_roster(folder: RelayFolder, caplog: pytest.LogCaptureFixture) -> None:
    path = folder.path / "roster.json"
    old = path.read_bytes()
    spki = folder.authority.spki
    folder.publish("a")
    watched = WatchedRoster(path, folder.public)
    assert watched.name_of(spki("b")) is None
    forged = write_roster(folder.roster.succeeded_by([]), Ed25519PrivateKey.generate())
    for content in (old, forged, b"damaged", old[:-1]):
        write_bytes(path, content)
        assert not watched.refresh()
        assert (watched.name_of(spki("a")), watched.name_of(spki("b"))) == ("a", None)
    assert len(caplog.records) == 4
    folder.publish("a", "c")
    assert watched.refresh()
    assert watched.name_of(spki("c")) == "c"
    assert not watched.refresh()


def test_settings_tell_all_their_problems_at_once(folder: RelayFolder) -> None:
    path = folder.path / "relay.yaml"
    write_text(path, path.read_text().replace("port: 0", "port: 70000") + "proxy: x\n")
    with pytest.raises(ConfigError, match=r"'port': .*; unknown key 'proxy'"):
        read_settings(folder.path)


def test_settings_hold_limits_and_whole_paths(folder: RelayFolder) -> None:
    path = folder.path / "relay.yaml"
    write_text(path, path.read_text() + "limits: {heartbeat_seconds: 5}\n")
    settings = read_settings(folder.path)
    assert settings.limits.heartbeat_seconds == 5
    assert settings.tls.key == folder.path / "relay.key"
    assert settings.listen == "127.0.0.1:0"
    assert settings.model_copy(update={"address": "::1"}).listen == "[::1]:0"
