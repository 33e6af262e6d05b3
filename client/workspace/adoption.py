"""Adopting a release: verified under a key that policy trusts, then installed beside the one before.

``model.release`` of the policy names a folder. In it lie one folder for each adopted release and ``adopted.json``,
which says which one counts: one small file, replaced whole, so that a crash changes nothing or all. A folder
without ``adopted.json`` is a release itself.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from client.workspace.model_policy import CONSORTIUM, Model, Models, OtherModel
from client.workspace.workspace import Workspace
from common.config import Settings
from common.errors import AgentError, WeightsError
from common.releases import bare
from common.releases.manifest import MANIFEST
from common.releases.package import install, read_files, sweep
from common.releases.release import Release
from common.releases.signing import Files, is_signed_by, verified
from common.storage import sha256_bytes, write_text
from common.versions import refuse_newer

POINTER = "adopted.json"
USUAL_FOLDER = "release"


@dataclass(frozen=True)
class Adopted:
    """``release`` counts now; ``before``: the name of the one that ``go_back`` returns to, if there is one."""

    release: Release
    before: str | None


def adopt(workspace: Workspace, source: Path) -> Adopted:
    """Verify the release in a folder or zip file and let it count; the one before stays, older ones go.

    A running agent goes on with the release that it has loaded until it is started anew.

    Raises:
        WeightsError: unsigned, signed by no key that policy trusts, altered, or of a newer format.
        DisclosureError: the policy does not name its backbone.
        AgentError: the silo has not joined.
    """
    files = read_files(source)
    release = _vouched(workspace, files, source)
    shelf = _shelf(workspace)
    # Named by content as well: what is on the shelf is never replaced by something else of the same id.
    name = f"{release.name}-{sha256_bytes(files[MANIFEST])[:8]}"
    held = _read(shelf)
    sweep(shelf)
    if not _intact(workspace, shelf / name):
        install(files, shelf / name)
    before = None
    if held is not None:
        before = held.before if held.current == name else held.current
    _point(shelf, _Pointer(current=name, before=before))
    for folder in shelf.iterdir():
        if folder.is_dir() and folder.name not in (name, before) and (folder / MANIFEST).is_file():
            shutil.rmtree(folder, ignore_errors=True)
    return Adopted(release, before)


def go_back(workspace: Workspace) -> Adopted:
    """Let the release before count again; asking twice returns to the newer one.

    Raises:
        AgentError: there is none.
        WeightsError: it does not verify any more.
    """
    shelf = _shelf(workspace)
    held = _read(shelf)
    if held is None or held.before is None:
        raise AgentError("no release was adopted before this one", remedy="adopt the one that you want")
    release = _vouched(workspace, read_files(shelf / held.before), shelf / held.before)
    _point(shelf, _Pointer(current=held.before, before=held.current))
    return Adopted(release, held.current)


def adopted_release(workspace: Workspace, model: Model) -> Release:
    """The release that counts, verified again: what the agent loads.

    Raises:
        WeightsError: there is none, it is signed by no key that policy trusts, or it is unsigned and the policy
            does not allow that.
        DisclosureError: the policy does not name its backbone.
    """
    folder, held = model.release, _read(model.release)
    if held is not None:
        folder = folder / held.current
    elif bare.holds_bare(folder) and model.allow_unsigned:
        release = bare.read_release(folder)
        workspace.policy().models.check(release.manifest.backbone.sha256)
        return release
    return _vouched(workspace, read_files(folder), folder)


def held_release(workspace: Workspace, model: Model, digest: str) -> Release | None:
    """The release of that digest, if it lies here, adopted now or before, and holds; None where there is none."""
    shelf, held = model.release, _read(model.release)
    folders = [shelf] if held is None else [shelf / name for name in (held.current, held.before) if name]
    for folder in folders:
        try:
            if held is None and bare.holds_bare(folder) and model.allow_unsigned:
                release = bare.read_release(folder)
            else:
                release = _vouched(workspace, read_files(folder), folder)
        except (WeightsError, OtherModel):
            continue
        if release.digest == digest:
            return release
    return None


def trusted_keys(workspace: Workspace, models: Models) -> tuple[bytes, ...]:
    """(32 bytes each) the keys whose releases policy trusts: the one that the roster names, and listed ones.

    Raises:
        WeightsError: there is none.
    """
    named = workspace.roster().release_key if CONSORTIUM in models.signers else None
    keys = tuple(bytes.fromhex(signer) for signer in models.signers if signer != CONSORTIUM)
    if named is not None:
        keys = (bytes.fromhex(named), *keys)
    if not keys:
        raise WeightsError(
            "the roster names no key for releases", remedy="ask the operator for a newer kit and join with it"
        )
    return keys


class _Pointer(Settings):
    version: Literal[1] = 1
    current: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$")]
    before: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$")] | None = None


def _shelf(workspace: Workspace) -> Path:
    model = workspace.policy().model
    return model.release if model is not None else workspace.folder / USUAL_FOLDER


def _read(shelf: Path) -> _Pointer | None:
    try:
        content = (shelf / POINTER).read_bytes()
        refuse_newer(str(shelf / POINTER), content, kind=AgentError)
        return _Pointer.model_validate_json(content)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValidationError) as error:
        raise AgentError(f"{shelf / POINTER} is damaged", remedy="remove it, then adopt a release") from error


def _point(shelf: Path, pointer: _Pointer) -> None:
    write_text(shelf / POINTER, pointer.model_dump_json(indent=1) + "\n")


def _vouched(workspace: Workspace, files: Files, path: Path) -> Release:
    """The release in ``files``, once one of the trusted keys vouches for it and policy names its backbone."""
    models = workspace.policy().models
    *others, last = trusted_keys(workspace, models)
    for key in others:
        if is_signed_by(files, key):
            last = key
            break
    release = verified(files, last, path)
    models.check(release.manifest.backbone.sha256)
    return release


def _intact(workspace: Workspace, folder: Path) -> bool:
    try:
        _vouched(workspace, read_files(folder), folder)
    except WeightsError:
        return False
    return True
