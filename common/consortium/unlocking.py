"""Where the secret that seals private keys comes from: a key file, the environment, a file, or the keyboard.

In this order: a key file that is named; PHENOFED_PASSPHRASE; the file that PHENOFED_PASSPHRASE_FILE names, such as
a service manager's credential; a prompt, where there is a terminal.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import typer

from common.consortium.key_file import (
    KeyFile,
    Passphrase,
    Secret,
    check_length,
    new_key_file,
    read_key_file,
    read_private,
)
from common.errors import EncryptionError

PASSPHRASE = "PHENOFED_PASSPHRASE"  # noqa: S105
PASSPHRASE_FILE = "PHENOFED_PASSPHRASE_FILE"  # noqa: S105

_MAX_PASSPHRASE = 1024


def find_secret(key_file: Path | None, *, whose: str) -> Secret:
    """The secret that opens keys.

    Args:
        whose: what the prompt calls the keys.

    Raises:
        EncryptionError: none can be found, or a file is missing or readable by others.
    """
    return read_key_file(key_file) if key_file is not None else _passphrase(whose, new=False)


def choose_secret(key_file: Path | None, *, whose: str) -> Secret:
    """The secret for new keys: a key file is read, or made where ``key_file`` does not exist yet.

    Raises:
        EncryptionError: as ``find_secret``.
    """
    if key_file is None:
        return check_length(_passphrase(whose, new=True))
    return read_key_file(key_file) if key_file.exists() else _made(key_file)


def _made(key_file: Path) -> KeyFile:
    secret = new_key_file(key_file)
    typer.echo(f"made the key file {key_file}: keep a copy apart from the keys that it opens", err=True)
    return secret


def _passphrase(whose: str, *, new: bool) -> Passphrase:
    text = os.environ.get(PASSPHRASE)
    if text is None and (path := os.environ.get(PASSPHRASE_FILE)):
        try:
            text = read_private(Path(path), limit=_MAX_PASSPHRASE).decode().rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise EncryptionError(f"{path} holds no text", remedy=f"mend {PASSPHRASE_FILE}") from error
    if text is None and sys.stdin.isatty():
        text = typer.prompt(f"Passphrase for {whose}", hide_input=True, confirmation_prompt=new, err=True)
    if not text:
        raise EncryptionError(
            f"no passphrase for {whose}", remedy=f"set {PASSPHRASE} or {PASSPHRASE_FILE}, or use a key file"
        )
    return Passphrase(text)
