"""A workspace says what it lacks and how to mend it; a policy is checked as a whole and can only be stricter."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

import deploy
from client.workspace.policy import SiloPolicy, load_policy
from client.workspace.workspace import Workspace
from common.consortium.key_file import KeyFile
from common.errors import AgentError, ConfigError, EncryptionError
from common.privacy.disclosure import OPEN, STANDARD
from tests.cohort_files import write_folder
from tests.consortium_folder import done, make_consortium, refusal


@pytest.fixture(scope="module")
def consortium(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("consortium")
    make_consortium(folder, ["east", "west"])
    return folder


@pytest.fixture
def workspace(consortium: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    shutil.copytree(consortium / "west", tmp_path / "west")
    return tmp_path / "west"


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A workspace that has not joined."""
    folder = tmp_path / "fresh"
    done("silo", "init", folder, "--name", "fresh", "--contact", "a@b.example", "--key-file", tmp_path / "key")
    return folder


def test_a_joined_workspace_has_all_that_an_agent_needs(workspace: Path) -> None:
    silo = Workspace(workspace)
    roster = silo.roster()
    assert silo.name == "west"
    assert roster.member("west").card == silo.member().card
    assert [member.name for member in roster.members] == ["east", "west"]
    assert silo.registry().row("OMIM:194050") == 1
    assert silo.policy() == SiloPolicy()
    assert len(silo.wrap_key("ckks")) == 32
    certificate, key, authority = silo.tls.read()
    assert certificate.startswith(b"-----BEGIN CERTIFICATE")
    assert key.startswith(b"-----BEGIN PRIVATE KEY")
    assert authority.startswith(b"-----BEGIN CERTIFICATE")


def test_only_the_owner_can_look_in(workspace: Path) -> None:
    assert stat.S_IMODE(workspace.stat().st_mode) == 0o700
    for name in ("private.key", "workspace.json", "policy.yaml"):
        assert stat.S_IMODE((workspace / name).stat().st_mode) == 0o600, name


def test_no_private_key_lies_there_in_clear(workspace: Path) -> None:
    keys = Workspace(workspace).keys
    private = keys.member.private_bytes()
    body = b"".join(keys.tls_key.splitlines()[1:-1])
    hidden = [private[:32], private[32:], keys.wrap_root, body, body[:40]]
    hidden += [secret.hex().encode() for secret in hidden[:3]]
    for path in (path for path in workspace.rglob("*") if path.is_file()):
        content = path.read_bytes().replace(b"\n", b"")
        assert not [secret for secret in hidden if secret in content], path


def test_what_is_missing_is_told_with_the_command_that_mends_it(fresh: Path, tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="phenofed silo init"):
        Workspace(tmp_path / "nowhere")
    silo = Workspace(fresh)
    for missing in (silo.roster, silo.registry, silo.policy):
        with pytest.raises(AgentError, match="phenofed silo join"):
            missing()
    with pytest.raises(AgentError, match="phenofed silo join"):
        silo.tls.read()
    assert refusal("silo", "members", fresh).exit_code == 12


@pytest.mark.parametrize("name", ["roster.json", "ca.pem", "certificate.pem", "registry.json", "policy.yaml"])
def test_each_lost_file_is_one_clear_refusal(workspace: Path, name: str) -> None:
    (workspace / name).unlink()
    silo = Workspace(workspace)
    with pytest.raises(AgentError) as raised:
        (silo.roster(), silo.registry(), silo.policy(), silo.tls.read())
    assert "join" in raised.value.remedy


def test_altered_files_are_refused(workspace: Path) -> None:
    for name, read in (("roster.json", Workspace.roster), ("registry.json", Workspace.registry)):
        path = workspace / name
        path.write_bytes(path.read_bytes().replace(b"trial", b"trail"))
        with pytest.raises(ConfigError, match="not signed"):
            read(Workspace(workspace))
    (workspace / "workspace.json").write_text('{"version": 1}')
    with pytest.raises(AgentError, match="damaged"):
        Workspace(workspace)


def test_keys_of_another_silo_are_noticed(workspace: Path, consortium: Path) -> None:
    shutil.copy(consortium / "east" / "private.key", workspace / "private.key")
    with pytest.raises(EncryptionError, match="does not open"):
        Workspace(workspace).member()
    with pytest.raises(AgentError, match="another silo"):
        Workspace(workspace, KeyFile((consortium / "east.key").read_bytes())).member()


def test_the_proposed_policy_says_what_the_defaults_are() -> None:
    assert load_policy(Path(str(deploy.__file__)).parent / "policy.yaml") == SiloPolicy()


def policy(tmp_path: Path, text: str) -> SiloPolicy:
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    return load_policy(path)


def test_a_policy_tells_all_its_problems_at_once(tmp_path: Path) -> None:
    text = """
relay: {proxy: "proxy.example"}
allow: {rank: maybe, everything: true}
profile: simulation
discovery: {threshold: 1.5, rows_a_year: 17}
keep: {days: 0}
detector: {path: yunet.onnx}
colour: blue
"""
    with pytest.raises(ConfigError) as raised:
        policy(tmp_path, text)
    for key in (
        "relay.proxy",
        "allow.rank",
        "allow.everything",
        "profile",
        "discovery.threshold",
        "discovery.rows_a_year",
        "keep.days",
        "detector.sha256",
        "colour",
    ):
        assert f"'{key}'" in str(raised.value), key


def test_a_budget_can_only_be_stricter(tmp_path: Path) -> None:
    assert policy(tmp_path, "{profile: strict, budget: {queries_a_year: 32}}").queries_a_year == 32
    assert policy(tmp_path, "{profile: standard, budget: {queries_a_year: 5}}").queries_a_year == 5
    assert policy(tmp_path, "{profile: open}").queries_a_year == OPEN.queries_a_year
    assert policy(tmp_path, "{profile: standard}").floor == STANDARD
    with pytest.raises(ConfigError, match="33 is more than the 32 of profile strict"):
        policy(tmp_path, "{profile: strict, budget: {queries_a_year: 33}}")


@pytest.mark.parametrize("text", ["proxy.example:3128", "http://proxy.example:3128/"])
def test_a_proxy_may_be_written_as_an_address_or_as_a_url(tmp_path: Path, text: str) -> None:
    assert policy(tmp_path, f"relay: {{proxy: '{text}'}}").relay.proxy == "proxy.example:3128"


def test_paths_of_a_policy_are_relative_to_it(tmp_path: Path) -> None:
    text = """
model:
  release: release
  backbone: {architecture: thin, path: weights.safetensors}
detector: {path: /opt/yunet.onnx, sha256: "%s"}
"""
    found = policy(tmp_path, text % ("0" * 64))
    assert found.model is not None
    assert found.model.release == tmp_path / "release"
    assert found.model.backbone.path == tmp_path / "weights.safetensors"
    assert found.detector is not None
    assert found.detector.path == Path("/opt/yunet.onnx")
    bare = policy(tmp_path, "model: {release: r, backbone: {architecture: thin}}")
    assert bare.model is not None
    assert bare.model.backbone.path is None


def test_patients_come_in_and_unmapped_labels_are_listed(workspace: Path, tmp_path: Path) -> None:
    table = write_folder(tmp_path / "clinic")
    table.write_text(table.read_text().replace("OMIM:147920", "own label"))
    done("silo", "import", workspace, tmp_path / "clinic", "--purposes", "match")
    assert _keys(done("silo", "labels", workspace)) == {"OMIM:122470": "OMIM:122470", "own label": "unmapped"}
    mapped = done("silo", "labels", workspace, "--map", "own label=OMIM:180849")
    assert _keys(mapped)["own label"] == "OMIM:180849"
    assert "own label: nothing" in str(refusal("silo", "labels", workspace, "--map", "own label=nothing"))
    assert refusal("silo", "labels", workspace, "--map", "nothing").exit_code == 3
    assert done("silo", "labels", workspace) == mapped


def _keys(listing: str) -> dict[str, str]:
    """Own label -> key, as the table shows them."""
    lines = [line for line in listing.splitlines() if "│" in line]
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines]
    return {row[0]: row[3] for row in cells}


def test_an_import_lets_nobody_leave_unless_told(workspace: Path, tmp_path: Path) -> None:
    write_folder(tmp_path / "clinic")
    done("silo", "import", workspace, tmp_path / "clinic", "--purposes", "match")
    before = (workspace / "cohort" / "manifest.json").read_bytes()
    assert "0 removed" in done("silo", "import", workspace, tmp_path / "clinic", "--purposes", "match")
    assert refusal("silo", "import", workspace, tmp_path / "missing", "--replace").exit_code == 4
    assert (workspace / "cohort" / "manifest.json").read_bytes() == before
    done("silo", "import", workspace, tmp_path / "clinic", "--purposes", "train,match", "--replace")
    assert (workspace / "cohort" / "manifest.json").read_bytes() != before
    assert not [path for path in os.listdir(workspace) if path.startswith(".")]
