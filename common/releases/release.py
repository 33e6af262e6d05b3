"""A release as read: a manifest and the shared parameters that fit it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.numpy import load

from common.errors import WeightsError
from common.records import Parameters
from common.releases.manifest import Manifest
from common.storage import sha256_bytes

MAX_MODEL = 4 << 30
"""Bytes of parameters that are read at most."""


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


def loaded(content: bytes, manifest: Manifest, path: Path, *, signed: bool = False) -> Release:
    """The release of which these are parameters and manifest; ``path``, that of the former, is for messages.

    Raises:
        WeightsError: damaged, altered, or not the parameters of this manifest.
    """
    if len(content) > MAX_MODEL:
        raise WeightsError(f"{path} is too large", remedy="is this a release?")
    if sha256_bytes(content) != manifest.sha256:
        raise WeightsError(f"{path} was altered", remedy="fetch the release again")
    try:
        return Release(manifest, load(content), signed)
    except SafetensorError as error:
        raise WeightsError(f"{path} is damaged", remedy="fetch the release again") from error
