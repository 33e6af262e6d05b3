"""A kit is installed only where every part fits: the silo, its keys, the pinned key, and what is held already."""

from __future__ import annotations

import io
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from client.workspace.workspace import Workspace
from common.consortium import certificates
from common.consortium.kit import read_kit, write_kit
from common.consortium.request import read_request
from common.errors import AgentError, ConfigError
from deploy.folder import ConsortiumFolder
from tests.consortium_folder import (
    add_silo,
    done,
    found_consortium,
    kit_of,
    new_silo,
    refusal,
    words_of,
    write_table,
)


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


def test_a_kit_holds_each_of_its_files_once_and_uncompressed(made: Path) -> None:
    parts = {"kit.json": b"", "roster.json": b"", "ca.pem": b""}
    with zipfile.ZipFile(kit_of(made, "west")) as archive:
        parts |= {name: archive.read(name) for name in archive.namelist()}
    assert read_kit(_zipped([*parts.items()])).member == "west"
    with pytest.raises(ConfigError, match="no kit"):
        read_kit(_zipped([*parts.items()], zipfile.ZIP_DEFLATED))
    with pytest.raises(ConfigError, match="no kit"):
        read_kit(_zipped([*parts.items(), ("../../evil", b"")]))
    with pytest.warns(UserWarning, match="Duplicate name"):
        doubled = _zipped([*parts.items(), ("roster.json", b"another")])
    with pytest.raises(ConfigError, match="no kit"):
        read_kit(doubled)


def _zipped(parts: list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in parts:
            archive.writestr(name, content)
    return buffer.getvalue()


def test_a_root_that_the_roster_does_not_name_is_refused(consortium: Path) -> None:
    key = certificates.new_key()
    root = certificates.root_certificate(key, "trial")
    request = read_request((consortium / "west" / "request.json").read_bytes())
    certificate = certificates.silo_certificate(request.tls_key, "west", root, key)
    kit = read_kit(kit_of(consortium, "west").read_bytes())
    forged = consortium / "forged.zip"
    forged.write_bytes(write_kit(replace(kit, root=root, certificate=certificate)))
    assert "not the roster's" in str(refusal("silo", "join", consortium / "west", forged))


def test_a_certificate_that_has_ended_is_refused(consortium: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "LEAF_YEARS", 0)
    done("consortium", "add", consortium / "operator", consortium / "west" / "request.json", "--yes")
    error = refusal("silo", "join", consortium / "west", kit_of(consortium, "west"))
    assert "ended on" in str(error)
    assert error.exit_code == 12


def test_a_silo_that_learns_of_its_revocation_stops(consortium: Path) -> None:
    done("consortium", "revoke", consortium / "operator", "west", "--yes")
    shutil.copy(consortium / "operator" / "relay" / "roster.json", consortium / "west" / "roster.json")
    with pytest.raises(AgentError, match="no member of trial any more"):
        Workspace(consortium / "west").roster()
