"""The public half of a release key as a file that people hand over: 64 hexadecimal digits and a line end."""

from __future__ import annotations

from pathlib import Path

from common.consortium.console import read_file
from common.errors import ConfigError
from common.storage import write_text


def write_public(path: Path, key: bytes) -> None:
    """Write the key (32 bytes)."""
    write_text(path, key.hex() + "\n")


def read_public(path: Path) -> bytes:
    """(32 bytes) the public half in a file such as release.pub.

    Raises:
        ConfigError: the file holds none.
    """
    text = read_file(path, limit=4096).strip()
    try:
        key = bytes.fromhex(text.decode("ascii"))
        if len(key) != 32:
            raise ValueError("another length")
    except ValueError as error:
        raise ConfigError(f"{path} holds no release key", remedy="give release.pub of the registry") from error
    return key
