"""New keys of relay, root, offline key and silos: at once or not at all, and followed by whoever may."""

from __future__ import annotations

import datetime
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from client.newest.judging import follow
from client.workspace.workspace import Workspace
from common.consortium.certificates import issued_by, read_certificate, read_certificates
from common.consortium.kit import read_kit
from common.consortium.signed_file import RefusedFile
from common.consortium.succession import keys_after, read_successions, succeed, write_successions
from common.consortium.words import fingerprint_words, key_fingerprint
from common.errors import AgentError, ConfigError
from common.transport.tls import spki_of
from deploy import journal
from deploy.folder import ConsortiumFolder
from server.relay.offline_keys import offline_keys
from server.relay.roster import WatchedRoster
from server.relay.settings import read_settings
from tests.agents import Hospitals, found_hospitals, hospitals, phenofed, wait_until
from tests.consortium_folder import NAMES, add_silo, done, kit_of, refusal
from tests.test_newest_documents import lines, offered, published

TODAY = datetime.date(2026, 6, 1)


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return found_hospitals(tmp_path_factory.mktemp("rotation") / "made", ["alpha", "beta"])


@pytest.fixture
def running(founded: Path, tmp_path: Path) -> Iterator[Hospitals]:
    with hospitals(founded, tmp_path / "running") as consortium:
        yield consortium


def folder_of(consortium: Path) -> ConsortiumFolder:
    return ConsortiumFolder(consortium / "operator")


def words(key: bytes) -> str:
    return fingerprint_words(key_fingerprint(key))


def silo_certificates(consortium: Path) -> dict[str, bytes]:
    return {name: folder_of(consortium).certificate(name) for name in NAMES}


def files(folder: Path) -> dict[str, bytes]:
    kept = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in kept}


def test_the_relays_new_key_touches_no_silo(consortium: Path) -> None:
    before, certificates = folder_of(consortium).roster(), silo_certificates(consortium)
    done("consortium", "rotate", consortium / "operator", "relay")
    roster, relay = folder_of(consortium).roster(), consortium / "operator" / "relay"
    assert roster.sequence == before.sequence + 1
    assert roster.relay_tls != before.relay_tls
    assert spki_of((relay / "certificate.pem").read_bytes()) == roster.relay_tls
    assert replace(roster, relay_tls=before.relay_tls, earlier=before.earlier) == before
    assert silo_certificates(consortium) == certificates
    assert os.stat(relay / "key.pem").st_mode & 0o77 == 0
    done("silo", "join", consortium / "west", kit_of(consortium, "west"))
    assert Workspace(consortium / "west").roster().digest == roster.digest


def test_root_and_certificates_change_while_agents_run_and_the_old_root_ends(running: Hospitals) -> None:
    operator = running.folder / "operator"
    running.start()
    alpha = running.agents["alpha"]
    before = (running.folder / "alpha" / "certificate.pem").read_bytes()
    done("consortium", "rotate", operator, "root")
    assert refusal("consortium", "rotate", operator, "root").remedy.startswith("end it first")
    both = read_certificates((operator / "ca.pem").read_bytes())
    assert len(both) == 2
    published(running)
    for name in running.names:
        path = running.folder / name / "certificate.pem"
        wait_until(lambda path=path: issued_by(read_certificate(path.read_bytes()), both[0]))
        assert (running.folder / name / "ca.pem").read_bytes() == (operator / "ca.pem").read_bytes()
    assert spki_of((running.folder / "alpha" / "certificate.pem").read_bytes()) == spki_of(before)
    # Between the two commands both roots are trusted on both sides, whoever holds which certificate.
    reconnect(running)
    assert issued_by(read_certificate((operator / "relay" / "certificate.pem").read_bytes()), both[1])
    done("consortium", "rotate", operator, "root", "--finish", "--yes")
    published(running)
    assert read_certificates((operator / "relay" / "ca.pem").read_bytes()) == both[:1]
    assert issued_by(read_certificate((operator / "relay" / "certificate.pem").read_bytes()), both[0])
    wait_until(lambda: alpha.standing().roster.roots == ConsortiumFolder(operator).roster().roots)
    assert len(alpha.standing().roster.roots) == 1
    # The relay runs on; from here on it shows the new root's certificate, and takes no old one.
    reconnect(running)
    assert "ok" in phenofed("silo", "check", running.folder / "alpha").output
    (running.folder / "beta" / "certificate.pem").write_bytes(before)
    assert refusal("consortium", "rotate", operator, "root", "--finish", "--yes").exit_code == 3


def reconnect(running: Hospitals) -> None:
    """Cut all streams; the agents return over new connections."""
    links = [running.agents[name].link for name in running.names]
    streams = [link._connection._stream for link in links]
    for stream in streams:
        assert stream is not None
        stream.close()
    for link, stream in zip(links, streams, strict=True):
        wait_until(lambda link=link, old=stream: link._connection._stream not in (None, old))
        assert link.wait_for(set(running.names), seconds=30), link.why_not


def test_a_new_offline_key_is_followed_by_relay_and_agents_which_show_its_words(running: Hospitals) -> None:
    operator, alpha = running.folder / "operator", running.folder / "alpha"
    running.start("alpha")
    former, digest = ConsortiumFolder(operator).offline_key, running.agents["alpha"].standing().roster.digest
    shown = done("consortium", "rotate", operator, "signing")
    key = ConsortiumFolder(operator).offline_key
    assert key != former
    assert words(key) in " ".join(shown.split())
    published(running)
    wait_until(lambda: Workspace(alpha).about.offline_key == key.hex())
    wait_until(lambda: any(line["event"] == "offline-key.taken" for line in lines(alpha)))
    (told,) = [line for line in lines(alpha) if line["event"] == "offline-key.taken"]
    assert told["facts"]["words"] == words(key).replace(" ", "-")  # type: ignore[index]
    assert words(key) == running.ask("alpha", "status")["documents"]["offline_key"]
    # Nothing but the signatures changed: no gallery epoch ends over it.
    assert running.agents["alpha"].standing().roster.digest == digest
    done("consortium", "revoke", operator, "beta", "--yes")
    published(running)
    assert running.roster.roster.sequence == ConsortiumFolder(operator).roster().sequence
    wait_until(lambda: not running.agents["alpha"].standing().roster.holds("beta"))


def test_kits_bring_the_new_offline_key_and_older_kits_are_refused(consortium: Path, tmp_path: Path) -> None:
    operator, west = consortium / "operator", consortium / "west"
    older = tmp_path / "older.zip"
    shutil.copy(kit_of(consortium, "west"), older)
    done("consortium", "rotate", operator, "signing")
    done("consortium", "rotate", operator, "signing")
    key = folder_of(consortium).offline_key
    assert all(read_kit(path.read_bytes()).offline_key == key for path in (operator / "kits").iterdir())
    settings = read_settings(operator / "relay")
    assert settings.roster_key == key.hex()
    assert len(offline_keys(settings).former) == 2
    done("silo", "join", west, kit_of(consortium, "everybody"))
    assert Workspace(west).offline_key == key
    assert "older than the consortium's newest offline key" in str(refusal("silo", "join", west, older))
    # A hospital that comes new pins the newest key at once.
    fifth = add_silo(consortium, "fifth")
    assert Workspace(fifth).offline_keys.former == Workspace(west).offline_keys.former
    done("silo", "join", west, kit_of(consortium, "everybody"))
    assert Workspace(west).roster().holds("fifth")


def test_a_relay_follows_successions_before_its_settings_are_copied(consortium: Path, tmp_path: Path) -> None:
    copy = tmp_path / "relay"
    shutil.copytree(consortium / "operator" / "relay", copy)
    pinned = bytes.fromhex(read_settings(copy).roster_key)
    watched = WatchedRoster(copy / "roster.json", pinned)
    done("consortium", "rotate", consortium / "operator", "signing")
    done("consortium", "revoke", consortium / "operator", "south", "--yes")
    new = consortium / "operator" / "relay"
    shutil.copy(new / "roster.json", copy)
    assert not watched.refresh()
    shutil.copy(new / "successions.json", copy)
    assert watched.refresh()
    assert not watched.roster.holds("south")


def test_nobody_follows_a_key_that_the_pinned_one_did_not_name(consortium: Path) -> None:
    west = Workspace(consortium / "west")
    before = files(consortium / "west")
    thief, heir = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    forged = write_successions(succeed((), "trial", thief, heir, TODAY))
    followed = follow(west, {**offered(consortium, "west"), "successions.json": forged})
    # A chain of other keys leads nowhere from the pinned one: it is kept out, or says nothing.
    assert west.offline_key == folder_of(consortium).offline_key
    assert followed.key is None
    assert {item.name for item in followed.refused} == {"successions.json"}
    assert files(consortium / "west") == before
    real = folder_of(consortium).offline_key
    body = forged.replace(thief.public_key().public_bytes_raw().hex().encode(), real.hex().encode())
    assert [item.name for item in follow(west, {"successions.json": body}).refused] == ["successions.json"]


def test_a_succession_needs_both_keys_and_its_order() -> None:
    first, second, third = (Ed25519PrivateKey.generate() for _ in range(3))
    one = succeed((), "trial", first, second, TODAY)
    two = succeed(one, "trial", second, third, TODAY)
    public = [key.public_key().public_bytes_raw() for key in (first, second, third)]
    chain = read_successions(write_successions(two))
    assert chain == two
    for pinned in public:
        assert keys_after(pinned, chain, "trial").all == tuple(reversed(public))
    stranger = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    assert keys_after(stranger, chain, "trial").all == (stranger,)
    with pytest.raises(RefusedFile):
        keys_after(public[0], chain, "other")
    back = succeed(two, "trial", third, first, TODAY)
    for wrong in (two[1:], (two[1], two[0]), (*one, *one), back):
        with pytest.raises(RefusedFile):
            read_successions(write_successions(wrong))
    with pytest.raises(RefusedFile):
        read_successions(write_successions(two) + b" ")


def test_a_lost_or_stolen_key_is_replaced_by_hand_and_by_words_alone(consortium: Path) -> None:
    operator, west = consortium / "operator", consortium / "west"
    stolen, sequence = folder_of(consortium).offline_key, folder_of(consortium).roster().sequence
    (operator / "offline.keys").unlink()
    error = refusal("consortium", "rotate", operator, "relay", "--key-file", consortium / "operator.key")
    assert error.exit_code in (3, 8)
    fresh = consortium / "fresh.key"
    done("consortium", "rotate", operator, "signing", "--anew", "--yes", "--key-file", fresh)
    key = folder_of(consortium).offline_key
    assert key != stolen
    assert folder_of(consortium).roster().sequence == sequence + 1
    followed = follow(Workspace(west), offered(consortium, "west"))
    assert followed.key is None
    assert not followed.taken
    assert "new offline key" in str(refusal("silo", "join", west, kit_of(consortium, "west"), "--yes"))
    wrong = refusal("silo", "join", west, kit_of(consortium, "west"), "--new-key", words(stolen))
    assert isinstance(wrong, AgentError)
    done("silo", "join", west, kit_of(consortium, "west"), "--new-key", words(key))
    assert Workspace(west).offline_keys.all == (key,)
    assert Workspace(west).roster().sequence == sequence + 1
    assert [line["event"] for line in lines(west)] == ["offline-key.anew"]
    done("consortium", "revoke", operator, "south", "--yes")
    done("silo", "join", west, kit_of(consortium, "everybody"))


@pytest.mark.parametrize("which", ["relay", "root", "signing"])
def test_a_rotation_that_is_killed_is_whole_with_the_next_command(
    consortium: Path, which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator, before = consortium / "operator", folder_of(consortium).roster()
    with monkeypatch.context() as patched:
        written = []

        def killed(path: Path, content: bytes, *, private: bool = False) -> None:
            written.append(path)
            if len(written) == 4:
                raise KeyboardInterrupt
            write(path, content, private=private)

        write = journal.write_bytes
        patched.setattr(journal, "write_bytes", killed)
        with pytest.raises(BaseException, match=r"^$|1"):
            done("consortium", "rotate", operator, which)
    assert journal.is_pending(operator)
    shown = done("consortium", "show", operator)
    assert not journal.is_pending(operator)
    found = folder_of(consortium)
    assert found.roster().digest != before.digest or which == "signing"
    assert (operator / "relay" / "roster.json").read_bytes() == found.roster_file()
    assert len(found.successions()) == (which == "signing")
    assert found.offline_key.hex()[:16] in shown
    done("consortium", "revoke", operator, "south", "--yes")
    done("silo", "join", consortium / "west", kit_of(consortium, "everybody"))


def test_a_rotation_that_the_disk_refuses_at_first_changes_nothing(
    consortium: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = consortium / "operator"
    before = files(operator)

    def full(path: Path, content: bytes, *, private: bool = False) -> None:
        raise OSError("no space")

    monkeypatch.setattr(journal, "write_bytes", full)
    with pytest.raises(OSError, match="no space"):
        done("consortium", "rotate", operator, "signing")
    assert files(operator) == before


def test_show_lists_every_key_with_its_dates(consortium: Path) -> None:
    operator = consortium / "operator"
    former = folder_of(consortium).offline_key
    done("consortium", "rotate", operator, "signing")
    done("consortium", "rotate", operator, "root")
    shown = done("consortium", "show", operator)
    for kind in ("offline", "offline, before", "root", "root, before", "relay"):
        assert kind in shown
    assert former.hex()[:16] in shown
    end = read_certificate((operator / "relay" / "certificate.pem").read_bytes()).not_valid_after_utc.date()
    assert str(end) in shown


def test_a_silo_changes_its_tls_key_and_stays_who_it_is(consortium: Path) -> None:
    operator, west = consortium / "operator", consortium / "west"
    before, others = Workspace(west), silo_certificates(consortium)
    old_keys, card = before.keys, before.member().card
    done("silo", "rotate", west)
    # The old key is in use until the answer is installed, and rosters of before still fit.
    assert Workspace(west).keys.tls_key == old_keys.tls_key
    done("silo", "join", west, kit_of(consortium, "everybody"))
    done("consortium", "add", operator, west / "request.new.json", "--yes")
    assert isinstance(refusal("silo", "join", west, kit_of(consortium, "everybody")), AgentError)
    running = before.tls
    done("silo", "join", west, kit_of(consortium, "west"))
    fresh = Workspace(west)
    assert fresh.keys.tls_key != old_keys.tls_key
    assert not fresh.keys.next_tls_key
    assert fresh.member().card == card
    assert fresh.wrap_key("x") == old_keys.wrap_key("x")
    certificate, key, _ = running.read()
    assert spki_of(certificate) == fresh.roster().member("west").tls
    assert key == fresh.keys.tls_key, "an agent that runs takes the new key at its next connection"
    assert not (west / "request.new.json").exists()
    assert {name: c for name, c in silo_certificates(consortium).items() if name != "west"} == {
        name: c for name, c in others.items() if name != "west"
    }
    done("silo", "join", west, kit_of(consortium, "everybody"))


def test_wrong_use_is_one_line(consortium: Path) -> None:
    operator = consortium / "operator"
    for arguments in (("relay", "--finish"), ("root", "--anew"), ("root", "--finish", "--yes")):
        assert isinstance(refusal("consortium", "rotate", operator, *arguments), ConfigError)
    assert "nobody is there" in str(refusal("consortium", "rotate", operator, "signing", "--anew"))
