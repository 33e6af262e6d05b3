"""Encodings of the hospital's own patients, kept on disk until release, photo or consent change.

They are biometric: the file is the owner's alone, and holds nobody beyond those asked for last.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load, save

from common.ranking.patients import Encodings, restrict
from common.storage import write_bytes


class GalleryCache:
    """The encodings in one file; a file that cannot be read counts as none."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, release: str, photos: Mapping[str, str]) -> Encodings | None:
        """What is kept of ``photos`` (id to SHA-256) by the release of that digest; the rest is removed."""
        found = self._read()
        if found is None:
            return None
        about, encodings = found
        if about["release"] != release:
            return None
        same = {photo: sha for photo, sha in about["photos"].items() if photos.get(photo) == sha}
        return self._restricted(encodings, release, about["photos"], same)

    def write(self, encodings: Encodings, release: str, photos: Mapping[str, str]) -> None:
        """Keep these in place of all others."""
        about = {
            "release": release,
            "photos": {photo: photos[photo] for photo in encodings.photo_ids},
            "models": encodings.models,
            "views": encodings.views,
            "shares": encodings.shares,
        }
        content = save({"vectors": encodings.vectors}, metadata={"about": json.dumps(about)})
        write_bytes(self._path, content, private=True)

    def forget(self, photos: Collection[str]) -> None:
        """Remove what is kept of these photos; all of it where the file cannot be read."""
        found = self._read()
        if found is None:
            self._path.unlink(missing_ok=True)
            return
        about, encodings = found
        left = {photo: sha for photo, sha in about["photos"].items() if photo not in photos}
        self._restricted(encodings, about["release"], about["photos"], left)

    def _restricted(
        self, encodings: Encodings, release: str, kept: Mapping[str, str], wanted: Mapping[str, str]
    ) -> Encodings | None:
        if len(wanted) == len(kept):
            return encodings
        if not wanted:
            self._path.unlink(missing_ok=True)
            return None
        left = restrict(encodings, list(wanted))
        self.write(left, release, wanted)
        return left

    def _read(self) -> tuple[dict[str, Any], Encodings] | None:
        try:
            content = self._path.read_bytes()
            header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
            about = json.loads(header["__metadata__"]["about"])
            encodings = Encodings(
                tuple(dict(about["photos"])),
                load(content)["vectors"],
                tuple(about["models"]),
                tuple((flip, grey) for flip, grey in about["views"]),
                tuple(about["shares"]),
            )
            return {"release": str(about["release"]), "photos": dict(about["photos"])}, encodings
        except (OSError, SafetensorError, KeyError, ValueError, TypeError):
            return None
