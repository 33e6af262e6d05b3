"""A release as read: a manifest and the shared parameters that fit it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.numpy import load

from common.errors import WeightsError
from common.records import Parameters
from common.releases.manifest import Manifest, read_manifest
from common.storage import sha256_bytes

MAX_MODEL, MAX_MANIFEST = 4 << 30, 1 << 20
"""Bytes of a file that are read at most."""


@dataclass(frozen=True)
class Release:
    """Manifest and parameters fit each other. ``signed``: the consortium's release key vouches for them."""

    manifest: Manifest
    parameters: Parameters
    signed: bool = False

    @property
    def name(self) -> str:
        """What people call it: where it comes from and the start of its hash."""
        return self.manifest.id

    @property
    def digest(self) -> str:
        """(64 hexadecimal digits) over everything that an embedding depends on, so that silos can compare."""
        return self.manifest.digest


def loaded(content: bytes, manifest: bytes, path: Path, *, signed: bool = False) -> Release:
    """The release of which these are the files; ``path``, that of the parameters, names it in messages.

    Raises:
        WeightsError: damaged, altered, or of a newer format.
    """
    if len(manifest) > MAX_MANIFEST or len(content) > MAX_MODEL:
        raise WeightsError(f"{path} or its manifest is too large", remedy="is this a release?")
    about = read_manifest(manifest, path.parent / "manifest.json" if signed else path)
    if sha256_bytes(content) != about.sha256:
        raise WeightsError(f"{path} was altered", remedy="fetch the release again")
    try:
        return Release(about, load(content), signed)
    except SafetensorError as error:
        raise WeightsError(f"{path} is damaged", remedy="fetch the release again") from error
