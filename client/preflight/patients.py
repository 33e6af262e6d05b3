"""The hospital's patients: who may be used for what, which labels are unmapped, which photos are poor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from client.preflight.finding import Finding, ok, warning
from client.preflight.site import Site
from client.workspace.labels import map_labels, read_labels
from common.cohort.schema import Purpose
from common.cohort.store import StoredCohort
from common.faces.quality import assess

_SHOWN = 5


def patients(site: Site) -> Iterator[Finding]:
    """Numbers of patients by purpose, as consents stand today."""
    stored = site.stored
    if stored is None:
        yield warning("no patients were imported yet", remedy="run phenofed silo import")
        return
    today = site.now().date()
    counts = {purpose.value: len(stored.cohort.for_purpose(purpose, today).patients) for purpose in Purpose}
    usable = sum(any(p.consent.allows(purpose, today) for purpose in Purpose) for p in stored.cohort.patients)
    text = f"{len(stored.cohort.patients)} patients: " + ", ".join(f"{n} {name}" for name, n in counts.items())
    if usable < len(stored.cohort.patients):
        yield warning(
            f"{text}; {len(stored.cohort.patients) - usable} have no consent that holds today",
            remedy="record their consents, or remove them",
        )
    else:
        yield ok(text)


def labels(site: Site) -> Iterator[Finding]:
    """Labels that no row of the registry stands for; their patients stay out of the gallery."""
    stored = site.stored
    if stored is None:
        yield ok("no patients yet")
        return
    registry = site.workspace.registry()
    found = map_labels(registry, stored.cohort.syndromes, read_labels(site.workspace.labels_path))
    if found.unmapped:
        touched = sum(patient.syndrome in found.unmapped for patient in stored.cohort.patients)
        yield warning(
            f"{len(found.unmapped)} labels of {touched} patients are unmapped: {_few(found.unmapped)}",
            remedy="map them with phenofed silo labels --map, or ask the operator to add them to the registry",
        )
    else:
        yield ok(f"all {len(found.rows)} labels are in registry {registry.version}")


def photos(site: Site) -> Iterator[Finding]:
    """Crops that a person should look at, by reason; no photo is named."""
    stored = site.stored
    if stored is None:
        yield ok("no patients yet")
        return
    remarks = _remarks(stored)
    if stored.refused:
        remarks["refused at import"] = len(stored.refused)
    if remarks:
        counted = ", ".join(f"{number} {what}" for what, number in remarks.most_common())
        yield warning(
            f"of {len(stored.photo_ids)} photos: {counted}", remedy="import better photos of these patients"
        )
    else:
        yield ok(f"{len(stored.photo_ids)} photos, none below quality")


def _remarks(stored: StoredCohort) -> Counter[str]:
    found: Counter[str] = Counter()
    for crop in stored.crops:
        verdict = assess(crop)
        found.update(["unusable"] if not verdict.usable else verdict.warnings)
    return found


def _few(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
