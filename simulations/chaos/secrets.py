"""What must never be sent or logged: pixels, photo files and embeddings by bytes, patients and photos by name."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from pathlib import Path

from PIL import Image
from safetensors.numpy import load

from common.cohort import store
from simulations.chaos.ground import Ground
from simulations.chaos.scan import Secret


def secrets_of(ground: Ground) -> Iterable[Secret]:
    """Crops, photos as PNG and JPEG, and float32 embeddings, of all silos and of those who are asked about."""
    for silo, space in ground.spaces.items():
        stored = store.load(space.cohort_folder)
        for crop in stored.crops:
            yield Secret("pixels", crop.tobytes())
            for form in ("PNG", "JPEG"):
                photo = io.BytesIO()
                Image.fromarray(crop).save(photo, form)
                yield Secret(f"{form} file", photo.getvalue()[64:])
        kept = space.gallery_folder / "encodings.safetensors"
        if not kept.exists():
            raise FileNotFoundError(f"{silo} has no embeddings yet")
        for vectors in load(kept.read_bytes()).values():
            yield Secret("embedding", vectors.tobytes())
    for probe in sorted(ground.place.probes.glob("*.png")):
        yield Secret("PNG file", probe.read_bytes()[64:])
        yield Secret("pixels", Image.open(probe).convert("RGB").tobytes())


def names_of(ground: Ground) -> set[str]:
    """Ids of patients and of their photos."""
    found = set()
    for space in ground.spaces.values():
        for patient in store.load(space.cohort_folder).cohort.patients:
            found |= {patient.id, *(photo.id for photo in patient.photos)}
    return found


def named_in(logs: Iterable[Path], names: set[str]) -> list[str]:
    """Log files that name somebody."""
    pattern = re.compile("|".join(re.escape(name) for name in sorted(names, key=len, reverse=True)).encode())
    return sorted(str(path) for path in set(logs) if pattern.search(path.read_bytes()))
