"""The contact sheet: faces that may be shown, a strip for each syndrome.

Synthetic faces are shown. Of imported photographs none is, unless the scenario asks for it; and then, as ever,
only patients who agreed to be displayed.
"""

from __future__ import annotations

import base64
import datetime
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from common.cohort.schema import Patient, Purpose
from common.faces.decode import Pixels
from simulations.report.source import Source

STRIPS, FACES, COVER = 18, 4, 6


@dataclass(frozen=True)
class Strip:
    """Faces of one syndrome side by side. ``data``: a data URI of a JPEG of ``count`` x 112 by 112 pixels."""

    name: str
    identifiers: str
    count: int
    data: str


def contact_sheet(source: Source, on: datetime.date) -> list[Strip]:
    """At most ``STRIPS`` syndromes of at most ``FACES`` patients each; empty where no face may be shown."""
    if not (source.synthetic or source.scenario.show_imported_photos):
        return []
    patients = _displayable(source, on)
    strips = []
    for key in _spread(sorted(patients, key=lambda key: (-len(patients[key]), key))):
        syndrome = source.syndrome(key)
        crops = [_crop(source, patient) for patient in patients[key][:FACES]]
        joined = np.concatenate(crops, axis=1)
        strips.append(Strip(syndrome.name, ", ".join(syndrome.identifiers), len(crops), _jpeg(joined)))
    return strips


def cover(source: Source, on: datetime.date) -> str | None:
    """A data URI of ``COVER`` synthetic faces of different syndromes, three a row; None where there are fewer."""
    patients = _displayable(source, on)
    if not source.synthetic or len(patients) < COVER:
        return None
    keys = sorted(patients, key=lambda key: (-len(patients[key]), key))[:COVER]
    crops = [_crop(source, patients[key][0]) for key in keys]
    rows = [np.concatenate(crops[start : start + 3], axis=1) for start in range(0, COVER, 3)]
    return _jpeg(np.concatenate(rows, axis=0))


def _displayable(source: Source, on: datetime.date) -> dict[str, list[Patient]]:
    """Patients by syndrome who agreed to be displayed."""
    patients: dict[str, list[Patient]] = {}
    for patient in source.cohort.cohort.for_purpose(Purpose.DISPLAY, on).patients:
        if patient.syndrome is not None:
            patients.setdefault(patient.syndrome, []).append(patient)
    return patients


def _spread(keys: list[str]) -> list[str]:
    """``STRIPS`` of the keys from frequent to rare, evenly taken."""
    if len(keys) <= STRIPS:
        return keys
    return [keys[round(index * (len(keys) - 1) / (STRIPS - 1))] for index in range(STRIPS)]


def _crop(source: Source, patient: Patient) -> Pixels:
    return source.cohort.crop(patient.photos[0].id)


def _jpeg(pixels: Pixels) -> str:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"
