"""From nothing to a consortium of four through the commands themselves, and what must not get in on the way."""

from __future__ import annotations

import stat
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from client.workspace.workspace import Workspace
from common.consortium.certificates import key_to_pem
from common.consortium.identity import Member
from common.consortium.request import read_request
from common.consortium.unlocking import find_secret
from common.consortium.words import fingerprint_words
from common.errors import ConfigError
from common.transport.tls import TlsFiles, spki_of
from deploy.folder import ConsortiumFolder
from deploy.membership import add
from tests.consortium_folder import (
    NAMES,
    add_silo,
    command,
    done,
    kit_of,
    new_silo,
    refusal,
    words_of,
    write_table,
)


def test_four_hospitals_see_each_other_with_the_same_words(made: Path) -> None:
    silos = [Workspace(made / name) for name in NAMES]
    assert len({silo.roster().digest for silo in silos}) == 1
    assert len({silo.registry().digest for silo in silos}) == 1
    for silo in silos:
        listing = " ".join(done("silo", "members", silo.folder).split())
        for other in silos:
            assert fingerprint_words(other.member().card.fingerprint) in listing
    shown = done("consortium", "show", made / "operator")
    assert all(fingerprint_words(silo.member().card.fingerprint) in shown for silo in silos)
    assert words_of(made) in shown


def test_no_private_key_leaves_its_place(made: Path) -> None:
    operator = ConsortiumFolder(made / "operator")
    offline = operator.keys(find_secret(made / "operator.key", whose="test"))
    secrets = [offline.signing.private_bytes_raw(), _body(key_to_pem(offline.root))]
    for name in NAMES:
        keys = Workspace(made / name).keys
        private = keys.member.private_bytes()
        secrets += [private[:32], private[32:], keys.wrap_root, _body(keys.tls_key)]
    secrets += [secret.hex().encode() for secret in secrets]
    for path in (p for p in made.rglob("*") if p.is_file()):
        contents = [path.read_bytes().replace(b"\n", b"")]
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                contents += [archive.read(name).replace(b"\n", b"") for name in archive.namelist()]
        assert not [1 for secret in secrets for content in contents if secret in content], path
        if path.name in ("offline.keys", "key.pem", "private.key") or path.suffix == ".key":
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        else:
            assert b"PRIVATE" not in contents[0], path
    assert stat.S_IMODE((made / "operator").stat().st_mode) == 0o700


def _body(pem: bytes) -> bytes:
    return b"".join(pem.splitlines()[1:-1])


def test_the_relay_gets_what_it_needs_and_no_consortium_key(made: Path) -> None:
    relay = made / "operator" / "relay"
    settings = yaml.safe_load((relay / "relay.yaml").read_text())
    assert (settings["address"], settings["port"]) == ("127.0.0.1", 9443)
    files = {name: relay / settings[name] for name in ("certificate", "key", "ca", "roster")}
    handed_out = {"registry.json", "certificates"}
    assert {path.name for path in relay.iterdir()} == {p.name for p in files.values()} | {
        "relay.yaml"
    } | handed_out
    assert sorted(path.stem for path in (relay / "certificates").iterdir()) == NAMES
    certificate, _, _ = TlsFiles(files["certificate"], files["key"], files["ca"]).read()
    roster = ConsortiumFolder(made / "operator").roster()
    assert spki_of(certificate) == roster.relay_tls
    assert files["roster"].read_bytes() == ConsortiumFolder(made / "operator").roster_file()
    assert settings["roster_key"] == ConsortiumFolder(made / "operator").offline_key.hex()


def test_a_change_touches_nobody_elses_certificate(consortium: Path) -> None:
    def issued() -> dict[str, bytes]:
        folder = consortium / "operator"
        paths = [folder / "members" / name / "certificate.pem" for name in NAMES]
        return {str(path): path.read_bytes() for path in [*paths, folder / "relay" / "certificate.pem"]}

    before = issued()
    add_silo(consortium, "fifth")
    done("consortium", "revoke", consortium / "operator", "east", "--yes")
    assert issued() == before
    done("silo", "join", consortium / "west", kit_of(consortium, "everybody"))
    roster = Workspace(consortium / "west").roster()
    assert [member.name for member in roster.members] == ["fifth", "north", "south", "west"]


def test_a_revoked_member_is_gone_everywhere_and_told_so(consortium: Path) -> None:
    old = Workspace(consortium / "east").roster().member("east").tls
    done("consortium", "revoke", consortium / "operator", "east", "--yes")
    roster = ConsortiumFolder(consortium / "operator").roster()
    assert roster.name_of(old) is None
    assert (consortium / "operator" / "relay" / "roster.json").read_bytes() == (
        ConsortiumFolder(consortium / "operator").roster_file()
    )
    error = refusal("silo", "join", consortium / "east", kit_of(consortium, "everybody"))
    assert "east is no member" in str(error)
    assert refusal("consortium", "revoke", consortium / "operator", "east", "--yes").exit_code == 3


def test_a_name_with_other_keys_needs_a_revocation_first(consortium: Path) -> None:
    impostor = new_silo(consortium, "impostor", "west")
    error = refusal("consortium", "add", consortium / "operator", impostor / "request.json", "--yes")
    assert "another card" in str(error)
    done("consortium", "revoke", consortium / "operator", "west", "--yes")
    done("consortium", "add", consortium / "operator", impostor / "request.json", "--yes")
    error = refusal("silo", "join", consortium / "west", kit_of(consortium, "west"))
    assert "other keys" in str(error)


def test_one_key_cannot_be_two_members(consortium: Path) -> None:
    operator = ConsortiumFolder(consortium / "operator")
    request = read_request((consortium / "west" / "request.json").read_bytes())
    keys = operator.keys(find_secret(consortium / "operator.key", whose="test"))
    twin = replace(request, card=Member("twin", Workspace(consortium / "west").member().private_bytes()).card)
    with pytest.raises(ConfigError, match="one of these keys"):
        add(operator, twin, b"", keys)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["consortium", "init", "{new}", "--name", "Big Name", "--relay", "a:1"], 3),
        (["consortium", "init", "{new}", "--name", "ok", "--relay", "relay.example"], 3),
        (["consortium", "init", "{new}", "--name", "ok", "--relay", "relay.example:99999"], 3),
        (
            [
                "consortium",
                "init",
                "{made}",
                "--name",
                "ok",
                "--relay",
                "a:1",
                "--key-file",
                "{made}/operator.key",
            ],
            3,
        ),
        (["consortium", "show", "{new}"], 3),
        (["consortium", "add", "{made}/operator", "{new}", "--yes"], 3),
        (["consortium", "add", "{made}/operator", "{made}/west/request.json"], 3),
        (["consortium", "revoke", "{made}/operator", "west", "-y", "--key-file", "{made}/west.key"], 8),
        (["consortium", "revoke", "{made}/operator", "nobody", "--yes"], 3),
        (["consortium", "registry", "{made}/operator", "--from", "{new}"], 4),
        (["silo", "init", "{new}", "--name", "A", "--contact", "a@b.c"], 3),
        (["silo", "init", "{new}", "--name", "a", "--contact", "a@b.c\n"], 3),
        (["silo", "init", "{made}/west", "--name", "a", "--contact", "a@b.c"], 12),
        (["silo", "join", "{new}", "{made}/operator/kits/west.zip"], 12),
        (["silo", "join", "{made}/west", "{new}"], 3),
        (["silo", "join", "{made}/west", "{made}/operator/ca.pem"], 3),
    ],
)
def test_wrong_input_is_one_line(made: Path, tmp_path: Path, arguments: list[str], code: int) -> None:
    new = tmp_path / "new"
    error = refusal(*(argument.format(new=new, made=made) for argument in arguments))
    assert error.exit_code == code, str(error)
    assert not new.exists()


def test_two_commands_never_change_a_consortium_at_once(consortium: Path) -> None:
    with ConsortiumFolder(consortium / "operator").locked():
        error = refusal("consortium", "revoke", consortium / "operator", "west", "--yes")
    assert "another command" in str(error)
    done("consortium", "revoke", consortium / "operator", "west", "--yes")


def test_the_same_registry_is_not_published_twice(consortium: Path) -> None:
    said = done("consortium", "registry", consortium / "operator", "--from", consortium / "syndromes.csv")
    assert "registry 1 stays as it is" in said
    assert len(list((consortium / "operator" / "registries").iterdir())) == 1
    assert "OMIM:194050" in done("consortium", "registry", consortium / "operator")


def test_a_passphrase_seals_what_the_commands_make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHENOFED_PASSPHRASE", "a passphrase of the operator")
    done("consortium", "init", tmp_path / "operator", "--name", "trial", "--relay", "relay.example.org:443")
    table = write_table(tmp_path / "syndromes.csv")
    monkeypatch.setenv("PHENOFED_PASSPHRASE", "another long passphrase")
    error = refusal("consortium", "registry", tmp_path / "operator", "--from", table)
    assert "the passphrase does not open" in str(error)
    assert error.exit_code == 8
    monkeypatch.setenv("PHENOFED_PASSPHRASE", "short")
    assert refusal("silo", "init", tmp_path / "west", "--name", "west", "--contact", "a@b.c").exit_code == 8
    assert not (tmp_path / "west").exists()


def test_help_teaches_each_command() -> None:
    for group, commands in (
        ("consortium", ("init", "add", "revoke", "registry", "show")),
        ("silo", ("init", "join", "import", "members", "labels")),
    ):
        assert all(name in command(group, "--help").output for name in commands)
        for name in commands:
            shown = command(group, name, "--help").output
            assert "Exit codes" in shown
