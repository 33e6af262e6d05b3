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

STRIPS, FACES = 18, 4


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
    patients: dict[str, list[Patient]] = {}
    for patient in source.cohort.cohort.for_purpose(Purpose.DISPLAY, on).patients:
        if patient.syndrome is not None:
            patients.setdefault(patient.syndrome, []).append(patient)
    strips = []
    for key in _spread(sorted(patients, key=lambda key: (-len(patients[key]), key))):
        syndrome = source.syndrome(key)
        crops = [_first_crop(source, patient) for patient in patients[key][:FACES]]
        strips.append(Strip(syndrome.name, ", ".join(syndrome.identifiers), len(crops), _jpeg(crops)))
    return strips


def _spread(keys: list[str]) -> list[str]:
    """``STRIPS`` of the keys from frequent to rare, evenly taken."""
    if len(keys) <= STRIPS:
        return keys
    return [keys[round(index * (len(keys) - 1) / (STRIPS - 1))] for index in range(STRIPS)]


def _first_crop(source: Source, patient: Patient) -> Pixels:
    return source.cohort.crop(patient.photos[0].id)


def _jpeg(crops: list[Pixels]) -> str:
    content = io.BytesIO()
    Image.fromarray(np.concatenate(crops, axis=1)).save(content, "JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"
