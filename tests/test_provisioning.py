"""From nothing to a consortium of four through the commands themselves, and what must not get in on the way."""

from __future__ import annotations

import io
import json
import shutil
import ssl
import stat
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from client.workspace import Workspace
from common.consortium.certificates import issued_by, key_to_pem
from common.consortium.identity import Member
from common.consortium.kit import read_kit, write_kit
from common.consortium.request import read_request
from common.consortium.unlocking import find_secret
from common.consortium.words import fingerprint_words, key_fingerprint
from common.errors import AgentError, ConfigError
from common.transport.tls import TlsFiles, spki_of
from deploy.folder import ConsortiumFolder
from deploy.membership import add
from tests.consortium_folder import (
    add_silo,
    command,
    done,
    found_consortium,
    make_consortium,
    refusal,
    write_table,
)

NAMES = ["east", "north", "south", "west"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    make_consortium(folder, NAMES)
    return folder


@pytest.fixture
def consortium(made: Path, tmp_path: Path) -> Path:
    """A copy of the consortium of four that a test may change."""
    folder = tmp_path / "consortium"
    shutil.copytree(made, folder)
    for path in (folder / "operator" / "consortium.json", *(folder / name / "workspace.json" for name in NAMES)):
        path.write_text(path.read_text().replace(str(made), str(folder)))
    return folder


def kit_of(folder: Path, name: str) -> Path:
    return folder / "operator" / "kits" / f"{name}.zip"


def words_of(folder: Path) -> str:
    return fingerprint_words(key_fingerprint(ConsortiumFolder(folder / "operator").offline_key))


def new_silo(folder: Path, place: str, name: str) -> Path:
    workspace = folder / place
    mail = f"a@{name}.example"
    done("silo", "init", workspace, "--name", name, "--contact", mail, "--key-file", folder / f"{place}.key")
    return workspace


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
    assert {path.name for path in relay.iterdir()} == {path.name for path in files.values()} | {"relay.yaml"}
    certificate, _, _ = TlsFiles(files["certificate"], files["key"], files["ca"]).read()
    roster = ConsortiumFolder(made / "operator").roster()
    assert spki_of(certificate) == roster.relay_tls
    assert files["roster"].read_bytes() == ConsortiumFolder(made / "operator").roster_file()
    assert settings["roster_key"] == ConsortiumFolder(made / "operator").offline_key.hex()


def _handshake(made: Path, name: str, *, host: str = "127.0.0.1") -> str:
    """The SPKI hash of the client that a TLS server with the relay's files sees, over memory."""
    relay, silo = made / "operator" / "relay", Workspace(made / name)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(relay / "certificate.pem", relay / "key.pem")
    server.load_verify_locations(relay / "ca.pem")
    server.verify_mode = ssl.CERT_REQUIRED
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(silo.folder / "ca.pem")
    key = made / f"{name}.pem"
    key.write_bytes(silo.tls.read()[1])
    client.load_cert_chain(silo.folder / "certificate.pem", key)
    key.unlink()
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(down, up, server_hostname=host)
    far = server.wrap_bio(up, down, server_side=True)
    for _ in range(4):
        for side in (near, far):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    seen = far.getpeercert(binary_form=True)
    assert seen is not None
    return spki_of(ssl.DER_cert_to_PEM_cert(seen).encode())


def test_certificates_hold_in_a_tls_handshake(consortium: Path) -> None:
    roster = Workspace(consortium / "west").roster()
    assert roster.name_of(_handshake(consortium, "west")) == "west"
    assert roster.name_of(_handshake(consortium, "east")) == "east"
    with pytest.raises(ssl.SSLCertVerificationError, match="IP address mismatch"):
        _handshake(consortium, "west", host="127.0.0.2")


def test_certificates_say_what_they_are_for_and_end_in_time(made: Path) -> None:
    root = x509.load_pem_x509_certificate((made / "operator" / "ca.pem").read_bytes())
    west = x509.load_pem_x509_certificate((made / "west" / "certificate.pem").read_bytes())
    relay = x509.load_pem_x509_certificate((made / "operator" / "relay" / "certificate.pem").read_bytes())
    years = [(c.not_valid_after_utc - c.not_valid_before_utc).days // 365 for c in (root, west, relay)]
    assert years == [10, 2, 2]
    for certificate in (root, west, relay):
        key = certificate.public_key()
        assert isinstance(key, EllipticCurvePublicKey)
        assert key.curve.name == "secp256r1"
        assert issued_by(certificate, root)
    constraints = root.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert (constraints.value.ca, constraints.value.path_length) == (True, 0)
    assert not west.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    uses = [c.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value for c in (west, relay)]
    assert [[use._name for use in usage] for usage in uses] == [["clientAuth"], ["serverAuth"]]


def test_a_change_touches_nobody_elses_certificate(consortium: Path) -> None:
    def certificates() -> dict[str, bytes]:
        folder = consortium / "operator"
        paths = [folder / "members" / name / "certificate.pem" for name in NAMES]
        return {str(path): path.read_bytes() for path in [*paths, folder / "relay" / "certificate.pem"]}

    before = certificates()
    add_silo(consortium, "fifth")
    done("consortium", "revoke", consortium / "operator", "east", "--yes")
    assert certificates() == before
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


def test_asking_again_renews_the_certificate_and_leaves_the_roster(consortium: Path) -> None:
    before = ConsortiumFolder(consortium / "operator").roster()
    done("consortium", "add", consortium / "operator", consortium / "west" / "request.json", "--yes")
    assert ConsortiumFolder(consortium / "operator").roster() == before
    held = (consortium / "west" / "certificate.pem").read_bytes()
    done("silo", "join", consortium / "west", kit_of(consortium, "west"))
    assert (consortium / "west" / "certificate.pem").read_bytes() != held


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


def test_a_kit_is_for_one_silo(consortium: Path) -> None:
    before = _files(consortium / "west")
    error = refusal("silo", "join", consortium / "west", kit_of(consortium, "east"))
    assert isinstance(error, AgentError)
    assert "is for east, this is west" in str(error)
    done("consortium", "add", consortium / "operator", consortium / "east" / "request.json", "--yes")
    renamed = read_kit(kit_of(consortium, "east").read_bytes())
    forged = consortium / "forged.zip"
    forged.write_bytes(write_kit(replace(renamed, member="west")))
    assert "not for this silo's key" in str(refusal("silo", "join", consortium / "west", forged))
    assert _files(consortium / "west") == before


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("part", ["roster", "registry", "root", "certificate"])
def test_an_altered_kit_is_refused_and_changes_nothing(consortium: Path, part: str) -> None:
    kit = read_kit(kit_of(consortium, "west").read_bytes())
    content = bytearray(getattr(kit, part))
    content[len(content) // 2] ^= 1
    forged = consortium / "forged.zip"
    forged.write_bytes(write_kit(replace(kit, **{part: bytes(content)})))
    before = _files(consortium / "west")
    assert refusal("silo", "join", consortium / "west", forged).exit_code in (3, 12)
    assert _files(consortium / "west") == before


def test_another_operator_cannot_take_a_silo_over(consortium: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    found_consortium(other)
    done("consortium", "add", other / "operator", consortium / "west" / "request.json", "--yes")
    before = _files(consortium / "west")
    error = refusal("silo", "join", consortium / "west", kit_of(other, "west"), "--yes")
    assert "another consortium" in str(error)
    forged = other / "forged.zip"
    kit = read_kit(kit_of(other, "west").read_bytes())
    pinned = ConsortiumFolder(consortium / "operator").offline_key
    forged.write_bytes(write_kit(replace(kit, offline_key=pinned)))
    assert "not signed" in str(refusal("silo", "join", consortium / "west", forged, "--yes"))
    assert _files(consortium / "west") == before


def test_older_rosters_and_registries_and_forks_are_refused(consortium: Path, tmp_path: Path) -> None:
    operator, west = consortium / "operator", consortium / "west"
    fork = tmp_path / "fork"
    shutil.copytree(operator, fork)
    older = tmp_path / "older.zip"
    shutil.copy(kit_of(consortium, "everybody"), older)
    add_silo(consortium, "fifth")
    done("silo", "join", west, kit_of(consortium, "everybody"))
    assert "is older" in str(refusal("silo", "join", west, older))
    done("consortium", "revoke", fork, "south", "--yes")
    assert "does not continue" in str(refusal("silo", "join", west, fork / "kits" / "everybody.zip"))
    shutil.copy(kit_of(consortium, "everybody"), older)
    done("consortium", "registry", operator, "--from", write_table(tmp_path / "new.csv", ["New,New,,,,"]))
    done("silo", "join", west, kit_of(consortium, "everybody"))
    assert Workspace(west).registry().version == 2
    assert "is older" in str(refusal("silo", "join", west, older))


def test_the_offline_key_is_pinned_only_when_its_words_agree(consortium: Path) -> None:
    workspace = new_silo(consortium, "sixth", "sixth")
    done("consortium", "add", consortium / "operator", workspace / "request.json", "--yes")
    kit = kit_of(consortium, "sixth")
    wrong = " ".join(reversed(words_of(consortium).split()))
    assert refusal("silo", "join", workspace, kit, "--roster-key", wrong, "--yes").exit_code == 12
    assert "nobody is there to confirm" in str(refusal("silo", "join", workspace, kit))
    assert not (workspace / "roster.json").exists()
    assert Workspace(workspace).about.offline_key is None
    done("silo", "join", workspace, kit, "--roster-key", words_of(consortium))
    assert Workspace(workspace).roster().holds("sixth")


def test_the_kit_for_everybody_admits_nobody(consortium: Path) -> None:
    workspace = new_silo(consortium, "sixth", "sixth")
    assert "is no member" in str(refusal("silo", "join", workspace, kit_of(consortium, "everybody"), "--yes"))
    done("consortium", "add", consortium / "operator", workspace / "request.json", "--yes")
    error = refusal("silo", "join", workspace, kit_of(consortium, "everybody"), "--yes")
    assert "brings no certificate" in str(error)


def test_the_hospitals_own_policy_is_never_replaced(consortium: Path) -> None:
    own = "profile: strict\n"
    (consortium / "west" / "policy.yaml").write_text(own)
    done("consortium", "add", consortium / "operator", consortium / "west" / "request.json", "--yes")
    done("silo", "join", consortium / "west", kit_of(consortium, "west"))
    assert (consortium / "west" / "policy.yaml").read_text() == own


def test_a_proposed_policy_that_does_not_fit_is_refused(consortium: Path) -> None:
    workspace = new_silo(consortium, "sixth", "sixth")
    (consortium / "operator" / "policy.yaml").write_text("allow: {everything: true}\n")
    done("consortium", "add", consortium / "operator", workspace / "request.json", "--yes")
    before = _files(workspace)
    error = refusal("silo", "join", workspace, kit_of(consortium, "sixth"), "--yes")
    assert "allow.everything" in str(error)
    assert _files(workspace) == before


@pytest.mark.parametrize("field", ["name", "contact", "verify_key", "exchange_key", "certificate_request"])
def test_an_altered_request_is_refused(consortium: Path, field: str) -> None:
    path = consortium / "west" / "request.json"
    request = json.loads(path.read_text())
    other = json.loads((consortium / "east" / "request.json").read_text())
    request["request"][field] = other["request"][field]
    path.write_text(json.dumps(request))
    assert "refused" in str(refusal("consortium", "add", consortium / "operator", path, "--yes"))


def test_hostile_requests_and_kits_end_in_one_refusal(made: Path) -> None:
    rng = np.random.default_rng(0)
    request = (made / "west" / "request.json").read_bytes()
    kit = kit_of(made, "west").read_bytes()
    swollen = io.BytesIO()
    with zipfile.ZipFile(swollen, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("kit.json", b"0" * 1_000_000)
    crowded = io.BytesIO()
    with zipfile.ZipFile(crowded, "w") as archive:
        for number in range(20):
            archive.writestr(f"../{number}", b"0")
    for content in (b"", b"PK\x03\x04", swollen.getvalue(), crowded.getvalue(), b"[" * 10_000):
        with pytest.raises(ConfigError, match="no kit"):
            read_kit(content)
        with pytest.raises(ConfigError, match="request was refused"):
            read_request(content)
    for _ in range(300):
        for whole, read in ((request, read_request), (kit, read_kit)):
            spoilt = bytearray(whole)
            for place in rng.integers(0, len(whole), 3):
                spoilt[place] = rng.integers(0, 256)
            try:
                read(bytes(spoilt[: rng.integers(1, len(whole))] if rng.random() < 0.5 else spoilt))
            except ConfigError:
                continue


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
