"""Signed releases: what silos load and what they refuse, formats, packages, and adoption by a hospital."""

from __future__ import annotations

import errno
import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from client.agent import Agent
from client.audit.files import log_files
from client.workspace.adoption import POINTER, adopt, adopted_release, go_back
from client.workspace.workspace import Workspace
from common.consortium.roster import read_roster, write_roster
from common.consortium.signed_file import Statement, write_signed
from common.errors import AgentError, PhenofedError, RunError, WeightsError
from common.records import digest
from common.releases.bare import read_release
from common.releases.encoder import ReleasedEncoder
from common.releases.manifest import CARD, MANIFEST, PARAMETERS, SIGNATURE, read_manifest
from common.releases.package import read_files, read_model, write_zip
from common.releases.release import Release
from common.releases.signing import verified
from common.storage import sha256_bytes
from server.releases.registry import ReleaseRegistry
from simulations.weights import THIN
from tests.consortium_folder import add_silo, copy_consortium, done, found_consortium, kit_of, refusal
from tests.release_files import make_registry, publish_model, signed, write_files, write_model

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()
HERE = Path("somewhere")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def files(model: Release) -> dict[str, bytes]:
    return signed(model, KEY)


def refused(files: dict[str, bytes], key: bytes = PUBLIC) -> str:
    with pytest.raises(WeightsError) as caught:
        verified(files, key, HERE)
    assert caught.value.remedy
    return str(caught.value)


def test_a_signed_release_is_the_model_that_was_signed(model, files):
    release = verified(files, PUBLIC, HERE)
    assert release.signed
    assert (release.name, release.digest) == (model.name, model.digest)
    assert digest(release.parameters) == digest(model.parameters)


@pytest.mark.parametrize("name", [PARAMETERS, MANIFEST, CARD, SIGNATURE])
def test_a_bit_that_flips_anywhere_is_refused(files, name):
    step = max(1, len(files[name]) // 40)
    for place in range(0, len(files[name]), step):
        content = bytearray(files[name])
        content[place] ^= 1
        assert "was refused: not signed" in refused(files | {name: bytes(content)})


def test_another_key_and_altered_files_get_the_same_refusal(files):
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    assert refused(files, other) == refused(files | {CARD: b"# A better card\n"})


def test_a_missing_file_is_refused_and_a_missing_signature_named(files):
    for name in (PARAMETERS, MANIFEST, CARD):
        assert "was refused" in refused({key: value for key, value in files.items() if key != name})
    assert "is not signed" in refused({key: value for key, value in files.items() if key != SIGNATURE})


def test_parts_of_two_signed_releases_do_not_make_one(files, tmp_path):
    other = signed(write_model(tmp_path, rounds=2), KEY, number=2)
    for name in (PARAMETERS, MANIFEST, CARD, SIGNATURE):
        if other[name] != files[name]:
            assert refused(files | {name: other[name]})


def resigned(files: dict[str, bytes], **changes: object) -> dict[str, bytes]:
    """The release with another manifest, signed by the right key: what another program would have written."""
    manifest = json.dumps(json.loads(files[MANIFEST]) | changes).encode()
    signature = write_signed(Statement("release", {"manifest": sha256_bytes(manifest)}), KEY)
    return files | {MANIFEST: manifest, SIGNATURE: signature}


@pytest.mark.parametrize("changes", [{"minor": 2}, {"version": 2, "minor": 0}, {"minor": 9, "novel": 1}])
def test_a_newer_format_asks_for_an_update(files, changes):
    assert refused(resigned(files, **changes)).endswith("update phenofed")


def test_a_newer_signature_file_asks_for_an_update(files, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr("common.consortium.signed_file.VERSION", 2)
        signature = write_signed(Statement("release", {"manifest": sha256_bytes(files[MANIFEST])}), KEY)
    assert refused(files | {SIGNATURE: signature}).endswith("update phenofed")


@pytest.mark.parametrize(
    "changes",
    [
        {"origin": None},
        {"sha256": "00" * 32},
        {"parameters_digest": "00" * 32},
        {"minor": "1"},
        {"scenario": "../x"},
    ],
)
def test_a_signed_manifest_that_does_not_fit_is_refused(files, changes):
    assert refused(resigned(files, **changes))


def test_a_signature_for_something_else_of_the_same_key_is_refused(files):
    for statement in (Statement("roster", {"manifest": sha256_bytes(files[MANIFEST])}), Statement("release", {})):
        assert "was refused" in refused(files | {SIGNATURE: write_signed(statement, KEY)})


def test_the_format_before_is_read_and_of_the_same_digest(model, files, tmp_path):
    write_model(tmp_path)
    older = json.loads((tmp_path / "federated.manifest.json").read_text())
    assert not {"minor", "origin"} & set(older)
    manifest = read_manifest(json.dumps(older).encode(), HERE)
    assert manifest.digest == read_manifest(files[MANIFEST], HERE).digest == model.digest


def test_a_zip_file_is_the_folder_in_one_file(files, tmp_path):
    folder, file = write_files(files, tmp_path / "folder"), tmp_path / "release.zip"
    file.write_bytes(write_zip(files))
    assert read_files(file) == read_files(folder) == files
    assert write_zip(files) == write_zip(dict(reversed(files.items())))


def test_training_goes_on_from_a_signed_release_as_from_a_bare_one(model, files, tmp_path):
    write_model(tmp_path / "bare")
    (tmp_path / "release.zip").write_bytes(write_zip(files))
    for path in (write_files(files, tmp_path / "folder"), tmp_path / "release.zip", tmp_path / "bare"):
        found = read_model(path)
        assert (found.digest, found.signed) == (model.digest, False)
    (tmp_path / "folder" / PARAMETERS).write_bytes(b"")
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "folder", tmp_path / "empty", tmp_path / "missing"):
        with pytest.raises(WeightsError):
            read_model(path)


def hostile_zips(files: dict[str, bytes]) -> dict[str, bytes]:
    def made(names: list[str], how: int = zipfile.ZIP_STORED) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", how) as archive:
            for name in names:
                archive.writestr(name, files.get(name, b"x"))
        return buffer.getvalue()

    whole = write_zip(files)
    return {
        "escape": made([*files, "../evil"]),
        "absolute": made([*files, "/evil"]),
        "compressed": made(list(files), zipfile.ZIP_DEFLATED),
        "cut": whole[: len(whole) // 2],
        "text": b"no archive",
        "empty": b"",
    }


@pytest.mark.parametrize("kind", ["escape", "absolute", "compressed", "cut", "text", "empty"])
def test_a_hostile_zip_is_refused_and_writes_nothing(files, tmp_path, kind):
    path = tmp_path / "in" / "release.zip"
    path.parent.mkdir()
    path.write_bytes(hostile_zips(files)[kind])
    with pytest.raises(WeightsError, match="no release, or a damaged one"):
        read_files(path)
    assert [found.name for found in tmp_path.rglob("*")] == ["in", "release.zip"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A consortium with one hospital, whose roster names the key of a registry of three releases."""
    folder = tmp_path_factory.mktemp("consortium")
    operator = found_consortium(folder)
    registry = make_registry(folder / "registry")
    for rounds in (1, 2, 3):
        publish_model(registry, write_model(folder / f"model-{rounds}", rounds=rounds))
    done("consortium", "release-key", operator, folder / "registry" / "release.pub", "--yes")
    add_silo(folder, "late")
    return folder


@pytest.fixture
def consortium(made: Path, tmp_path: Path) -> Path:
    return copy_consortium(made, tmp_path / "c")


def released(folder: Path, number: int) -> Path:
    registry = ReleaseRegistry(folder / "registry")
    return registry.place(registry.find(str(number)).id)


def set_model(workspace: Path, **changes: object) -> None:
    path = workspace / "policy.yaml"
    model = {"release": "release", "backbone": {"architecture": "thin", "path": str(THIN)}} | changes
    path.write_text(yaml.safe_dump((yaml.safe_load(path.read_text()) or {}) | {"model": model}))


def counting(workspace: Path) -> Release:
    joined = Workspace(workspace)
    found = joined.policy().model
    assert found is not None
    return adopted_release(joined, found)


def shelf(workspace: Path) -> list[str]:
    return sorted(path.name for path in (workspace / "release").iterdir())


def adoptions(workspace: Path) -> list[str]:
    """How each adoption ended, as the audit log tells it."""
    lines = [
        json.loads(line) for _, path in log_files(workspace / "audit") for line in path.read_text().splitlines()
    ]
    return [line["outcome"] for line in lines if line["event"] == "release.adopt"]


def test_a_late_hospital_adopts_a_release_and_encodes_as_those_who_trained(consortium):
    late = consortium / "late"
    said = done("silo", "adopt", late, released(consortium, 3))
    assert "next: in" in said
    assert "architecture: thin" in said
    set_model(late)
    release, trained = counting(late), read_release(consortium / "model-3")
    assert release.digest == trained.digest
    crops = np.random.default_rng(0).integers(0, 256, (2, 112, 112, 3)).astype(np.uint8)
    here, there = (ReleasedEncoder(found, THIN).encode(["a", "b"], crops) for found in (release, trained))
    np.testing.assert_array_equal(here.vectors, there.vectors)


def test_the_release_before_stays_and_older_ones_go(consortium):
    late = consortium / "late"
    set_model(late)
    names = []
    for number in (1, 2, 3):
        done("silo", "adopt", late, released(consortium, number))
        names.append(counting(late).name)
    assert len(set(names)) == 3
    assert [name.rsplit("-", 1)[0] for name in shelf(late) if name != POINTER] == sorted(names[1:])
    assert names[1] in done("silo", "adopt", late, "--back")
    assert counting(late).name == names[1]
    assert go_back(Workspace(late)).release.name == names[2]


def test_adopting_again_changes_nothing_and_keeps_the_way_back(consortium):
    late = consortium / "late"
    set_model(late)
    for number in (1, 2, 2):
        adopted = adopt(Workspace(late), released(consortium, number))
    assert adopted.before is not None
    assert go_back(Workspace(late)).release.manifest.rounds == 1


def test_there_is_no_way_back_before_a_second_release(consortium):
    set_model(consortium / "late")
    assert isinstance(refusal("silo", "adopt", consortium / "late", "--back"), AgentError)
    refusal("silo", "adopt", consortium / "late")
    adopt(Workspace(consortium / "late"), released(consortium, 1))
    with pytest.raises(AgentError, match="no release was adopted before"):
        go_back(Workspace(consortium / "late"))


def test_what_is_refused_changes_nothing(consortium, model, tmp_path):
    late = consortium / "late"
    set_model(late)
    done("silo", "adopt", late, released(consortium, 1))
    before = shelf(late), (late / "release" / POINTER).read_bytes()
    stranger = write_files(signed(model, KEY), tmp_path / "stranger")
    tampered = write_files(read_files(released(consortium, 2)), tmp_path / "tampered")
    (tampered / CARD).write_text("# Model card: safe for diagnosis\n")
    write_model(tmp_path / "bare")
    for source in (stranger, tampered, tmp_path / "bare", tmp_path / "nothing", late / "policy.yaml"):
        assert isinstance(refusal("silo", "adopt", late, source), WeightsError)
    assert before == (shelf(late), (late / "release" / POINTER).read_bytes())
    assert adoptions(late) == ["done"] + ["refused"] * 5
    assert counting(late).manifest.rounds == 1


def test_a_crash_while_adopting_leaves_the_release_before(consortium, monkeypatch):
    late = consortium / "late"
    set_model(late)
    adopt(Workspace(late), released(consortium, 1))
    real, failures = os.replace, 0
    for number in range(1, 20):
        calls = iter(range(1, 100))

        def failing(source: object, target: object, number: int = number, calls=calls) -> None:
            if next(calls) == number:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(source, target)

        with monkeypatch.context() as patched:
            patched.setattr(os, "replace", failing)
            patched.setattr(os, "rename", failing)
            try:
                adopt(Workspace(late), released(consortium, 2))
                break
            except RunError:
                failures += 1
        assert counting(late).manifest.rounds == 1
    assert failures == 6  # four files, the folder, the pointer
    assert counting(late).manifest.rounds == 2
    assert len(shelf(late)) == 3


def test_a_damaged_copy_on_the_shelf_is_not_loaded_and_is_mended_by_adopting(consortium):
    late = consortium / "late"
    set_model(late)
    adopt(Workspace(late), released(consortium, 1))
    weights = next((late / "release").glob(f"*/{PARAMETERS}"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    with pytest.raises(WeightsError):
        counting(late)
    adopt(Workspace(late), released(consortium, 1))
    assert counting(late).signed


def test_a_release_of_a_key_that_the_roster_no_longer_names_is_not_loaded(consortium, tmp_path):
    late = consortium / "late"
    set_model(late)
    adopt(Workspace(late), released(consortium, 1))
    make_registry(tmp_path / "new")
    done("consortium", "release-key", consortium / "operator", tmp_path / "new" / "release.pub", "--yes")
    done("silo", "join", late, kit_of(consortium, "everybody"))
    with pytest.raises(WeightsError, match="was refused"):
        counting(late)


@pytest.mark.parametrize("allowed", [True, False])
def test_an_unsigned_release_needs_the_policy_to_say_so(consortium, allowed):
    late = consortium / "late"
    write_model(late / "release")
    set_model(late, allow_unsigned=allowed)
    if allowed:
        assert not counting(late).signed
        return
    with pytest.raises(WeightsError, match=r"is not signed: .*allow_unsigned"):
        counting(late)
    with pytest.raises(WeightsError, match="is not signed"):
        Agent(Workspace(late))


def test_allowing_unsigned_releases_does_not_allow_altered_signed_ones(consortium, model):
    late = consortium / "late"
    write_files(signed(model, KEY), late / "release")
    set_model(late, allow_unsigned=True)
    with pytest.raises(WeightsError, match="was refused"):
        counting(late)


def test_a_roster_without_a_release_key_keeps_its_digest_and_trusts_no_release(tmp_path):
    operator = found_consortium(tmp_path)
    add_silo(tmp_path, "early")
    key = json.loads((operator / "consortium.json").read_text())["offline_key"]
    newest = max((operator / "rosters").glob("*.json"))
    assert "release_key" not in newest.read_text()
    roster = read_roster(newest.read_bytes(), bytes.fromhex(key))
    signer = Ed25519PrivateKey.generate()
    named = roster.with_release_key("ab" * 32)
    again = read_roster(write_roster(named, signer), signer.public_key().public_bytes_raw())
    assert (again.release_key, again.previous) == ("ab" * 32, roster.digest)
    assert again.succeeded_by(again.members).release_key == "ab" * 32
    with pytest.raises(PhenofedError, match="the roster names no key for releases"):
        adopt(Workspace(tmp_path / "early"), write_files(signed(write_model(tmp_path / "m"), KEY), tmp_path / "r"))
