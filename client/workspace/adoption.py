"""Adopting a release: verified under the key that the roster names, then installed beside the one before.

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

from client.workspace.model_policy import Model
from client.workspace.workspace import Workspace
from common.config import Settings
from common.errors import AgentError, WeightsError
from common.releases import bare
from common.releases.manifest import MANIFEST
from common.releases.package import install, read_files, sweep
from common.releases.release import Release
from common.releases.signing import verified
from common.storage import sha256_bytes, write_text

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
        WeightsError: unsigned, signed by another key than the roster names, altered, or of a newer format.
        AgentError: the silo has not joined.
    """
    files = read_files(source)
    release = verified(files, release_key(workspace), source)
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
    release = verified(read_files(shelf / held.before), release_key(workspace), shelf / held.before)
    _point(shelf, _Pointer(current=held.before, before=held.current))
    return Adopted(release, held.current)


def adopted_release(workspace: Workspace, model: Model) -> Release:
    """The release that counts, verified again: what the agent loads.

    Raises:
        WeightsError: there is none, it is not signed by the key that the roster names, or it is unsigned and the
            policy does not allow that.
    """
    folder, held = model.release, _read(model.release)
    if held is not None:
        folder = folder / held.current
    elif bare.holds_bare(folder) and model.allow_unsigned:
        return bare.read_release(folder)
    return verified(read_files(folder), release_key(workspace), folder)


def release_key(workspace: Workspace) -> bytes:
    """(32 bytes) the key whose releases the consortium trusts.

    Raises:
        WeightsError: the roster names none.
    """
    key = workspace.roster().release_key
    if key is None:
        raise WeightsError(
            "the roster names no key for releases", remedy="ask the operator for a newer kit and join with it"
        )
    return bytes.fromhex(key)


class _Pointer(Settings):
    version: Literal[1] = 1
    current: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$")]
    before: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$")] | None = None


def _shelf(workspace: Workspace) -> Path:
    model = workspace.policy().model
    return model.release if model is not None else workspace.folder / USUAL_FOLDER


def _read(shelf: Path) -> _Pointer | None:
    try:
        return _Pointer.model_validate_json((shelf / POINTER).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValidationError) as error:
        raise AgentError(f"{shelf / POINTER} is damaged", remedy="remove it, then adopt a release") from error


def _point(shelf: Path, pointer: _Pointer) -> None:
    write_text(shelf / POINTER, pointer.model_dump_json(indent=1) + "\n")


def _intact(workspace: Workspace, folder: Path) -> bool:
    try:
        verified(read_files(folder), release_key(workspace), folder)
    except WeightsError:
        return False
    return True
