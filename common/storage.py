"""Files that outlive a process: written whole or not at all, and known by their hash."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from common.errors import RunError


def write_bytes(path: Path, content: bytes, *, private: bool = False) -> None:
    """Write ``content`` atomically: temporary file, fsync, rename, fsync of the folder.

    Args:
        private: readable by the owner alone, for what is biometric or secret.

    Raises:
        RunError: the folder is not writable or the disk is full; a file of that name is unchanged.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o600 if private else 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise RunError(
            f"cannot write {path} ({error.strerror or error})",
            remedy="free disk space or choose a folder that you may write to",
        ) from error


def write_text(path: Path, content: str, *, private: bool = False) -> None:
    """``write_bytes`` of UTF-8 text."""
    write_bytes(path, content.encode(), private=private)


def write_json(path: Path, content: Any) -> None:
    """Write JSON with sorted keys; NaN and infinity are refused, since JSON has none."""
    write_text(path, json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n")


def sha256_bytes(content: bytes) -> str:
    """The hash as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path) -> str:
    """The hash of a file's content as 64 hexadecimal digits, read in blocks of 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
