"""The files of a release on disk: a folder, or a zip file as it is handed over; installed whole or not at all."""

from __future__ import annotations

import io
import os
import shutil
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path

from common.errors import RunError, WeightsError
from common.releases.bare import holds_bare, read_release
from common.releases.manifest import CARD, MANIFEST, MAX_MANIFEST, PARAMETERS, SIGNATURE, read_manifest
from common.releases.release import MAX_MODEL, Release, loaded
from common.releases.signing import FILES, Files, unsigned
from common.storage import write_bytes

LIMITS = {PARAMETERS: MAX_MODEL, MANIFEST: MAX_MANIFEST, CARD: 1 << 20, SIGNATURE: 1 << 16}
"""Bytes that are read of each file at most."""

INCOMING = ".incoming-"
"""How the name of a folder begins that was never finished."""

_DATE = (1980, 1, 1, 0, 0, 0)
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    ValueError,
    LookupError,
    EOFError,
    OSError,
    RuntimeError,
    struct.error,
)


def read_files(path: Path) -> dict[str, bytes]:
    """What lies in a folder or zip file, unjudged; of a folder, files that a release does not have are left.

    Raises:
        WeightsError: no release, a bare one, or one with files that are too large.
    """
    if path.is_dir():
        return _folder_files(path)
    try:
        # Opened once: what is read is what was looked at.
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            if len(set(names)) != len(names) or not set(names) <= set(FILES):
                raise ValueError("other files than a release has")
            files = {name: _bounded(archive, name) for name in names}
    except _UNREADABLE as error:
        raise WeightsError(
            f"{path} is no release, or a damaged one", remedy="give the folder or .zip file of a signed release"
        ) from error
    return files


def read_model(path: Path) -> Release:
    """The model in a folder or zip file, signed or bare: whole, but vouched for by nobody.

    For whoever knows its digest from elsewhere, as from a signed plan; silos load only what ``verified`` gives.

    Raises:
        WeightsError: no release, or damaged.
    """
    if holds_bare(path):
        return read_release(path)
    files = read_files(path)
    if not {PARAMETERS, MANIFEST} <= set(files):
        raise WeightsError(f"{path} holds no whole release", remedy="give the folder or .zip file of a release")
    return loaded(files[PARAMETERS], read_manifest(files[MANIFEST], path / MANIFEST), path / PARAMETERS)


def write_zip(files: Files) -> bytes:
    """The zip file; the same release gives the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in FILES:
            archive.writestr(zipfile.ZipInfo(name, _DATE), files[name])
    return buffer.getvalue()


def install(files: Files, target: Path) -> None:
    """Write a folder at ``target`` that is there whole or not at all; one that is there already is replaced.

    Raises:
        RunError: the disk refuses.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        incoming = Path(tempfile.mkdtemp(dir=target.parent, prefix=INCOMING))
        incoming.chmod(0o755)
        for name, content in files.items():
            write_bytes(incoming / name, content)
        if target.exists():
            shutil.rmtree(target)
        os.rename(incoming, target)
        handle = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise RunError(
            f"cannot write {target} ({error.strerror or error})",
            remedy="free disk space or choose a folder that you may write to",
        ) from error


def sweep(folder: Path) -> None:
    """Remove what a crash left unfinished in ``folder``."""
    for left in folder.glob(f"{INCOMING}*"):
        shutil.rmtree(left, ignore_errors=True)


def _folder_files(folder: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for name, limit in LIMITS.items():
        try:
            with (folder / name).open("rb") as file:
                files[name] = file.read(limit + 1)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise WeightsError(
                f"cannot read {folder / name} ({error.strerror})", remedy="check its owner"
            ) from error
        if len(files[name]) > limit:
            raise WeightsError(f"{folder / name} is too large", remedy="is this a release?")
    if not files:
        if holds_bare(folder):
            raise unsigned(folder)
        raise WeightsError(f"{folder} holds no release", remedy="give the folder of a release")
    return files


def _bounded(archive: zipfile.ZipFile, name: str) -> bytes:
    # Stored, not compressed: nothing can swell beyond the size of the file that was handed over.
    if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
        raise ValueError("compressed")
    with archive.open(name) as file:
        content = file.read(LIMITS[name] + 1)
    if len(content) > LIMITS[name]:
        raise ValueError("too large")
    return content
