"""Every file that outlives a process: one of a later format is refused in words, and stays as it is."""

from __future__ import annotations

import io
import json
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from client.audit.head import read_head
from client.audit.log import AuditLog
from client.audit.verifying import verify
from client.discovery.private_file import read_private
from client.gallery.keeper import GalleryKeeper
from client.ledger.ledger import Ledger
from client.patients.participation import FILE as PARTICIPATION
from client.patients.participation import _Content
from client.training.node import read_node
from client.workspace.members import Accepted
from client.workspace.workspace import Workspace
from common.cohort import store
from common.consortium import signed_file
from common.consortium.approval import read_approval
from common.consortium.identity import Member
from common.consortium.key_file import KeyFile, open_private
from common.consortium.kit import read_kit
from common.consortium.plan import KIND as PLAN
from common.consortium.plan import read_plan
from common.consortium.request import read_request
from common.consortium.roster import KIND as ROSTER
from common.consortium.roster import read_roster
from common.consortium.signed_file import Statement, write_signed
from common.consortium.syndromes import KIND as REGISTRY
from common.consortium.syndromes import read_registry
from common.errors import ConfigError, PhenofedError
from common.releases.manifest import read_manifest
from common.versions import SOFTWARE, newer_file, refuse_newer
from server import checkpoints
from server.checkpoints import Checkpoint
from tests.agents import import_patients

KEY = Ed25519PrivateKey.generate()
PUBLIC = KEY.public_key().public_bytes_raw()

Patch = pytest.MonkeyPatch
Case = Callable[[Path, Patch], tuple[Path, Callable[[], object]]]
CASES: dict[str, Case] = {}


def case(name: str) -> Callable[[Case], Case]:
    """Register how a file of a later format is made, and who reads it."""

    def registered(made: Case) -> Case:
        CASES[name] = made
        return made

    return registered


def contents(name: str, content: bytes, read: Callable[[bytes], object]) -> None:
    """A file that is read as a whole before anybody looks into it."""

    def made(folder: Path, _: Patch) -> tuple[Path, Callable[[], object]]:
        path = folder / "file"
        path.write_bytes(content)
        return path, lambda: read(path.read_bytes())

    CASES[name] = made


def kit() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("kit.json", json.dumps({"version": 2, "members": []}))
        for name in ("roster.json", "ca.pem"):
            archive.writestr(name, "x")
    return content.getvalue()


later = json.dumps({"version": 2, "more": "x"}).encode()
contents("kit", kit(), read_kit)
contents("approval", json.dumps({"approval": {"version": 2}}).encode(), lambda c: read_approval(c, None, None))  # type: ignore[arg-type]
contents("request", json.dumps({"request": {"version": 2}}).encode(), read_request)
contents("private keys", later, lambda c: open_private(c, KeyFile(bytes(32)), purpose="x"))
contents("release", json.dumps({"version": 9}).encode(), lambda c: read_manifest(c, Path("release.json")))
contents("plan's body", write_signed(Statement(PLAN, {"version": 2}), KEY), lambda c: read_plan(c, PUBLIC))


def signed(name: str, kind: str, read: Callable[[bytes, bytes], object]) -> None:
    def made(folder: Path, patch: Patch) -> tuple[Path, Callable[[], object]]:
        path = folder / f"{kind}.json"
        with patch.context() as then:
            then.setattr(signed_file, "VERSION", 2)
            path.write_bytes(write_signed(Statement(kind, {}), KEY))
        return path, lambda: read(path.read_bytes(), PUBLIC)

    CASES[name] = made


signed("roster", ROSTER, read_roster)
signed("registry", REGISTRY, read_registry)
signed("plan", PLAN, read_plan)


@case("gallery")
def _gallery(folder: Path, patch: Patch) -> tuple[Path, Callable[[], object]]:
    with patch.context() as then:
        then.setattr("client.gallery.keeper.VERSION", 2)
        GalleryKeeper(folder, new=True)
    return folder / "gallery.safetensors", lambda: GalleryKeeper(folder)


@case("ledger")
def _ledger(folder: Path, _: Patch) -> tuple[Path, Callable[[], object]]:
    path = folder / "ledger.sqlite"
    Ledger(path, new=True).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 2")
        connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    return path, lambda: Ledger(path)


def checkpoint(read: Callable[[Path], object]) -> Case:
    def made(folder: Path, patch: Patch) -> tuple[Path, Callable[[], object]]:
        with patch.context() as then:
            then.setattr(checkpoints, "VERSION", checkpoints.VERSION + 1)
            checkpoints.write(folder, Checkpoint("spring", {"w": np.zeros(2, np.float32)}))
        return folder / checkpoints.FILE, lambda: read(folder)

    return made


CASES["checkpoint"] = checkpoint(checkpoints.read)
CASES["checkpoint's rounds"] = checkpoint(checkpoints.read_history)


@case("cohort")
def _cohort(folder: Path, _: Patch) -> tuple[Path, Callable[[], object]]:
    import_patients(folder, {"p1": "OMIM:122470"})
    path = folder / "cohort" / "manifest.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"schema": content["schema"] + 1}))
    return path, lambda: store.load(folder / "cohort")


def json_file(name: str, read: Callable[[Path], object]) -> Case:
    def made(folder: Path, _: Patch) -> tuple[Path, Callable[[], object]]:
        path = folder / name
        path.write_bytes(later)
        return path, lambda: read(folder)

    return made


CASES["workspace"] = json_file("workspace.json", lambda folder: Workspace(folder).name)
CASES["members"] = json_file("members.json", Accepted)
CASES["node"] = json_file("node.json", read_node)
CASES["audit head"] = json_file("head.json", read_head)
CASES["patients of a run"] = json_file(
    PARTICIPATION, lambda folder: read_private(folder / PARTICIPATION, _Content)
)


@pytest.mark.parametrize("name", CASES)
def test_a_file_of_a_later_format_is_refused_in_words_and_stays_as_it_is(
    name: str, tmp_path: Path, monkeypatch: Patch
) -> None:
    path, read = CASES[name](tmp_path, monkeypatch)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    words = rf"written by a phenofed newer than {SOFTWARE}; this program reads"
    with pytest.raises(PhenofedError, match=words) as no:
        read()
    assert no.value.remedy == "update phenofed"
    assert "\n" not in str(no.value)
    assert path in before
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


def test_an_audit_line_of_a_later_format_is_told_from_a_damaged_one(tmp_path: Path) -> None:
    member = Member("clinic-a")
    AuditLog(tmp_path, member).record("agent.start", "agent")
    (path,) = tmp_path.glob("*.jsonl")
    line: dict[str, Any] = json.loads(path.read_text())
    path.write_text(json.dumps(line | {"version": 2}) + "\n")
    faults = verify(tmp_path, member.card).faults
    assert any("written by a phenofed newer than" in fault for fault in faults)


@pytest.mark.parametrize(
    "content", [b"", b"no json", b"[]", b"3", b'{"version": "2"}', b'{"version": true}', b"[" * 10**5]
)
def test_what_states_no_later_version_is_left_to_its_reader(content: bytes) -> None:
    refuse_newer("a file", content, kind=ConfigError)
    refuse_newer("a file", content, kind=ConfigError, at=("more", "version"))
    assert newer_file("a file", 1, 1, kind=ConfigError) is None
