"""The release key: made on the machine that publishes, sealed there, named by its public half in the roster."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import ValidationError

from common.config import Settings
from common.consortium.fields import Hash
from common.consortium.key_file import Secret, open_private, seal_private
from common.errors import ConfigError, EncryptionError
from common.releases.key_text import write_public
from common.storage import write_bytes, write_text

PRIVATE, PUBLIC, ABOUT = "release.key", "release.pub", "key.json"

_PURPOSE = "release key"


class AboutKey(Settings):
    """What key.json holds. ``key_file``: where the key file was when the key was sealed with one."""

    version: int = 1
    release_key: Hash
    key_file: Path | None = None


def make_key(folder: Path, secret: Secret, key_file: Path | None) -> bytes:
    """A new release key in ``folder``; gives its public half (32 bytes).

    Raises:
        ConfigError: there is one already.
    """
    check_new(folder)
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw()
    about = AboutKey(release_key=public.hex(), key_file=key_file and key_file.resolve())
    sealed = seal_private(key.private_bytes_raw(), secret, purpose=_PURPOSE)
    write_bytes(folder / PRIVATE, sealed, private=True)
    write_public(folder / PUBLIC, public)
    # The last one: without it there is no key, and making one can be done again.
    write_text(folder / ABOUT, about.model_dump_json(indent=1) + "\n")
    return public


def check_new(folder: Path) -> None:
    """Check that a key can be made in ``folder``.

    Raises:
        ConfigError: there is one already.
    """
    if (folder / ABOUT).exists():
        raise ConfigError(f"{folder} has a release key already", remedy="use it, or name a new folder")


def read_about(folder: Path) -> AboutKey:
    """What is public of the key in ``folder``.

    Raises:
        ConfigError: there is no key, or the file is damaged.
    """
    try:
        return AboutKey.model_validate_json((folder / ABOUT).read_bytes())
    except OSError as error:
        raise ConfigError(
            f"{folder} is no registry of releases", remedy="make one with phenofed release key"
        ) from error
    except ValidationError as error:
        raise ConfigError(f"{folder / ABOUT} is damaged", remedy="restore it") from error


def open_key(folder: Path, secret: Secret) -> Ed25519PrivateKey:
    """The private key.

    Raises:
        EncryptionError: another secret, a damaged file, or another key than key.json names.
    """
    try:
        sealed = (folder / PRIVATE).read_bytes()
    except OSError as error:
        raise EncryptionError(f"cannot read {folder / PRIVATE}", remedy="restore it") from error
    key = Ed25519PrivateKey.from_private_bytes(open_private(sealed, secret, purpose=_PURPOSE))
    if key.public_key().public_bytes_raw().hex() != read_about(folder).release_key:
        raise EncryptionError(f"{folder / PRIVATE} is another key than {ABOUT} names", remedy="restore both")
    return key
