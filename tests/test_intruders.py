"""Who is turned away at the wire for a certificate's sake, in both directions; nothing is changed by it."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from client.workspace.workspace import Workspace
from common.consortium import certificates
from common.errors import PhenofedError, RelayError
from common.transport.tls import TlsFiles
from tests.consortium_folder import copy_consortium, kit_of, refusal
from tests.relay_consortium import PATIENT, RelayConsortium
from tests.tls_files import Authority
from tests.unharmed import state_of

LATER, AGO = datetime.timedelta(days=30), datetime.timedelta(days=800)


class Clock(datetime.datetime):
    """The time by which certificates are made."""

    moved = datetime.timedelta()

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
        return datetime.datetime.now(tz) + cls.moved


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> type[Clock]:
    """Certificates that are made now begin and end at another time."""

    class Datetime:
        datetime, timedelta, UTC, date = Clock, datetime.timedelta, datetime.UTC, datetime.date

    monkeypatch.setattr(certificates, "datetime", Datetime)
    monkeypatch.setattr(Clock, "moved", datetime.timedelta())
    return Clock


@pytest.fixture
def relayed(tmp_path: Path) -> Iterator[RelayConsortium]:
    made = RelayConsortium(tmp_path, "a", "b")
    yield made
    made.close()


def fresh(authority: Authority, name: str) -> TlsFiles:
    """A silo's files with a certificate of the clock's time, in place of those before."""
    files = authority.silo(name)
    files.key.unlink()
    return authority.silo(name)


@pytest.mark.parametrize("by", [-AGO, LATER], ids=["ended", "not yet valid"])
def test_a_silos_certificate_out_of_its_time_is_refused_by_the_relay(
    relayed: RelayConsortium, moved: type[Clock], tmp_path: Path, by: datetime.timedelta
) -> None:
    relayed.links("b")
    moved.moved = by
    files = fresh(relayed.authority, "a")
    relayed.roster[relayed.authority.spki("a")] = "a"
    before = state_of(tmp_path)
    with pytest.raises(RelayError, match="cannot be reached"):
        relayed.link("a", tls=files).request("b", "q", b"", deadline=PATIENT)
    assert relayed.relay.connected == {"b"}
    assert state_of(tmp_path) == before


@pytest.mark.parametrize("by", [-AGO, LATER], ids=["ended", "not yet valid"])
def test_a_relay_whose_certificate_is_out_of_its_time_is_refused_by_the_silo(
    relayed: RelayConsortium, moved: type[Clock], tmp_path: Path, by: datetime.timedelta
) -> None:
    relayed.relay.stop()
    moved.moved = by
    relayed.authority.relay()
    relayed.restart()
    before = state_of(tmp_path)
    with pytest.raises(RelayError, match="cannot be reached"):
        relayed.link("a").request("b", "q", b"", deadline=PATIENT)
    assert not relayed.relay.connected
    assert state_of(tmp_path) == before


def test_a_relay_of_another_authority_is_refused_by_the_silo(relayed: RelayConsortium, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    Authority(tmp_path / "other")
    deceived = replace(relayed.authority.silo("a"), authority=tmp_path / "other" / "ca.pem")
    with pytest.raises(RelayError, match="cannot be reached"):
        relayed.link("a", tls=deceived).request("b", "q", b"", deadline=PATIENT)
    assert not relayed.relay.connected


@pytest.mark.parametrize("by", [-AGO, LATER], ids=["ended", "not yet valid"])
def test_a_superlink_out_of_its_certificates_time_is_refused_by_tls_as_a_node_checks_it(
    moved: type[Clock], tmp_path: Path, by: datetime.timedelta
) -> None:
    authority = Authority(tmp_path)
    moved.moved = by
    files = authority.relay()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(files.certificate, files.key)
    node = ssl.create_default_context(cafile=str(files.authority))
    ends = [(ssl.MemoryBIO(), ssl.MemoryBIO()) for _ in range(2)]
    near = node.wrap_bio(ends[0][0], ends[0][1], server_hostname="127.0.0.1")
    far = server.wrap_bio(ends[1][0], ends[1][1], server_side=True)

    def shake() -> None:
        for _ in range(10):
            for one, (_, out), (into, _) in ((near, ends[0], ends[1]), (far, ends[1], ends[0])):
                try:
                    one.do_handshake()
                except ssl.SSLWantReadError:
                    pass
                finally:
                    into.write(out.read())

    with pytest.raises(ssl.SSLCertVerificationError, match=r"expired|not yet valid"):
        shake()


def altered(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("name", ["roster.json", "registry.json"])
def test_a_tampered_file_stops_its_reader_and_changes_nothing(made: Path, tmp_path: Path, name: str) -> None:
    consortium = copy_consortium(made, tmp_path / "c")
    altered(consortium / "west" / name)
    before = state_of(consortium)
    kind = name.partition(".")[0]
    with pytest.raises(PhenofedError, match=kind) as refused:
        getattr(Workspace(consortium / "west"), kind)()
    assert "\n" not in str(refused.value)
    assert state_of(consortium) == before


def test_a_kit_of_another_silo_or_consortium_changes_nothing(made: Path, tmp_path: Path) -> None:
    consortium = copy_consortium(made, tmp_path / "c")
    before = state_of(consortium)
    error = refusal("silo", "join", consortium / "west", kit_of(consortium, "east"))
    assert "east" in str(error)
    assert state_of(consortium) == before


def test_a_policy_with_unknown_keys_stops_its_reader_and_changes_nothing(made: Path, tmp_path: Path) -> None:
    consortium = copy_consortium(made, tmp_path / "c")
    path = consortium / "west" / "policy.yaml"
    path.write_text(path.read_text() + "\nallow_everything: true\n")
    before = state_of(consortium)
    error = refusal("silo", "up", consortium / "west")
    assert "allow_everything" in str(error)
    assert state_of(consortium) == before
