"""A few test photos of a synthetic cohort as files, so that a newcomer has something to rank."""

from __future__ import annotations

import io

from PIL import Image

from common.cohort.store import StoredCohort
from common.storage import write_bytes
from simulations.folder import RunFolder
from simulations.scenario import Scenario, SyntheticCohort

SHOWN = 6


def write(folder: RunFolder, scenario: Scenario, cohort: StoredCohort) -> None:
    """Write ``probes/KEY-N.png``, named by their true syndrome; nothing of a cohort that is not synthetic."""
    if not isinstance(scenario.cohort, SyntheticCohort) or cohort.protocol is None:
        return
    protocol = cohort.protocol
    rare = protocol.rare[0].test if protocol.rare else ()
    first: dict[str, str] = {}
    for photo in (*protocol.frequent_test, *rare):
        first.setdefault(protocol.label_of[photo], photo)
    for label, photo in sorted(first.items())[:SHOWN]:
        picture = io.BytesIO()
        Image.fromarray(cohort.crop(photo)).save(picture, format="PNG")
        write_bytes(folder.path / "probes" / f"{label.replace(':', '-')}.png", picture.getvalue())
