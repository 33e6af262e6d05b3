"""The weights that phenofed ships, each with the manifest that holds its hash and how to make it again.

Simulations and tests import this; a hospital names its own files.
"""

from __future__ import annotations

from pathlib import Path

from common.errors import WeightsError

FOLDER = Path(__file__).parent
THIN = FOLDER / "thin.safetensors"


def locate(name: str) -> Path:
    """The path of the shipped weights ``name``, for example ``thin``.

    Raises:
        WeightsError: none of that name are shipped.
    """
    path = FOLDER / f"{name}.safetensors"
    if path not in set(FOLDER.glob("*.safetensors")):
        known = ", ".join(sorted(file.stem for file in FOLDER.glob("*.safetensors")))
        raise WeightsError(f"phenofed ships no weights '{name}'", remedy=f"there are: {known or 'none'}")
    return path
