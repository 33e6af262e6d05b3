"""Signed releases (Ed25519, RFC 8032): the manifest names every file's hash, the release key signs the manifest.

The release key is one of its own, which the roster names; neither the coordinator's machine nor whoever holds the
release key can name another one. The same refusal for a wrong key and for altered files: which of the two it is
helps nobody but the one who tries.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from safetensors.numpy import save

from common.consortium.signed_file import RefusedFile, Statement, read_signed, write_signed
from common.errors import ConfigError, WeightsError
from common.records import digest
from common.releases.manifest import (
    CARD,
    FORMAT,
    MANIFEST,
    PARAMETERS,
    SIGNATURE,
    Manifest,
    Origin,
    read_manifest,
)
from common.releases.release import Release, loaded
from common.storage import sha256_bytes

KIND = "release"
FILES = (PARAMETERS, MANIFEST, CARD, SIGNATURE)

Files = Mapping[str, bytes]
"""The content of a release's files by name."""


def sign_release(model: Release, origin: Origin, card: str, key: Ed25519PrivateKey) -> dict[str, bytes]:
    """The files of a signed release of ``model``; the hashes in ``origin`` are filled in here.

    Raises:
        WeightsError: the model's parameters are not those of its manifest.
    """
    content = save(dict(model.parameters))
    if sha256_bytes(content) != model.manifest.sha256:
        raise WeightsError("the parameters are not those of the manifest", remedy="read the release anew")
    files = {PARAMETERS: content, CARD: card.encode()}
    hashes = {name: sha256_bytes(file) for name, file in files.items()}
    changes = {"minor": FORMAT[1], "origin": origin.model_copy(update={"files": hashes}), "signed": True}
    manifest = Manifest.model_validate(model.manifest.model_copy(update=changes).model_dump(mode="json"))
    about = (
        json.dumps(manifest.model_dump(mode="json"), indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"
    )
    signature = write_signed(Statement(KIND, {"manifest": sha256_bytes(about)}), key)
    return files | {MANIFEST: about, SIGNATURE: signature}


def verified(files: Files, release_key: bytes, path: Path) -> Release:
    """The release in ``files``, once everything holds; ``path`` names them in messages.

    Args:
        release_key: (32 bytes) the key that is trusted; never taken from the release.

    Raises:
        WeightsError: unsigned, signed by another key, altered, or of a newer format.
    """
    if SIGNATURE not in files:
        raise unsigned(path)
    signed = _signed_hash(files[SIGNATURE], release_key, path)
    if set(files) != set(FILES) or not hmac.compare_digest(signed, sha256_bytes(files[MANIFEST])):
        raise _refused(path)
    manifest = read_manifest(files[MANIFEST], path / MANIFEST)
    found = {name: sha256_bytes(files[name]) for name in (PARAMETERS, CARD)}
    if manifest.origin is None or manifest.origin.files != found:
        raise _refused(path)
    release = loaded(files[PARAMETERS], manifest, path / PARAMETERS, signed=True)
    if digest(release.parameters) != manifest.parameters_digest:
        raise _refused(path)
    return release


def is_signed_by(files: Files, key: bytes) -> bool:
    """Whether a release claims this signer with right; whether it holds is for ``verified`` to say."""
    try:
        read_signed(files.get(SIGNATURE, b""), key, kind=KIND)
    except ConfigError:
        return False
    return True


def unsigned(path: Path) -> WeightsError:
    """The one error for a release without a signature."""
    return WeightsError(
        f"the release in {path} is not signed",
        remedy="adopt a signed one; a simulation's needs model.allow_unsigned: true in policy.yaml",
    )


def _signed_hash(content: bytes, release_key: bytes, path: Path) -> str:
    try:
        body = read_signed(content, release_key, kind=KIND).body
    except RefusedFile as error:
        raise _refused(path) from error
    except ConfigError as error:
        raise WeightsError(f"{path / SIGNATURE}: {error.what}", remedy=error.remedy) from error
    hashed = body.get("manifest")
    if set(body) != {"manifest"} or not isinstance(hashed, str) or not hashed.isascii():
        raise _refused(path)
    return hashed


def _refused(path: Path) -> WeightsError:
    return WeightsError(
        f"the release in {path} was refused: not signed by a key that is trusted, or altered",
        remedy="do not use it; fetch it from the operator again, by another way",
    )
