"""The weights that phenofed ships, each with the manifest that holds its hash and how to make it again.

Simulations and tests import this; a hospital names its own files.
"""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from urllib.parse import unquote, urlparse

from common.errors import WeightsError

HERE = Path(__file__).parent


def locate(name: str) -> Path:
    """The path of the shipped weights ``name``, for example ``thin``.

    Raises:
        WeightsError: none of that name are shipped.
    """
    shipped = {path.stem: path for path in folder().glob("*.safetensors")}
    if name not in shipped:
        known = ", ".join(sorted(shipped))
        raise WeightsError(f"phenofed ships no weights '{name}'", remedy=f"there are: {known or 'none'}")
    return shipped[name]


def folder() -> Path:
    """Where the weights lie: beside this file, else where phenofed is installed.

    Flower unpacks an app's code without its weights and imports it from there.
    """
    return next((place for place in (HERE, *_installed()) if any(place.glob("*.safetensors"))), HERE)


def _installed() -> list[Path]:
    try:
        distribution = importlib.metadata.distribution("phenofed")
    except importlib.metadata.PackageNotFoundError:
        return []
    roots = [Path(str(distribution.locate_file("")))]
    origin = distribution.read_text("direct_url.json")  # an editable installation points to its checkout
    if origin:
        roots.append(Path(unquote(urlparse(json.loads(origin).get("url", "")).path)))
    return [root / "simulations" / "weights" for root in roots]


THIN = folder() / "thin.safetensors"
