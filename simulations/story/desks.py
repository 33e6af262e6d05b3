"""What each hospital of a story has on its own disk before anything begins: photos, and a table of its patients.

Hospitals of the scenario are dealt to those of the story in order, so that sites stay whole. Test patients are in
no table: they are who will be ranked.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from common.cohort import gmdb
from common.cohort.folder import LANDMARKS
from common.cohort.schema import Cohort, Patient, Photo, Syndrome
from common.cohort.splits import Protocol
from common.errors import CohortError, ConfigError
from common.faces.align import TEMPLATE, align
from common.faces.decode import Pixels, decode
from common.storage import write_bytes, write_text
from simulations import synthetic
from simulations.prepare import RESEARCH, silo_names, with_silos
from simulations.scenario import GmdbCohort, Scenario, SyntheticCohort

TABLE, NEW_PATIENTS = "cohort.csv", "new-patients.csv"
OWN_LABEL = "our-syndrome"
Points = Sequence[Sequence[float]]
_COLUMNS = (
    "photo",
    "patient",
    "syndrome",
    "syndrome_name",
    "identifiers",
    "hpo_present",
    "age_years",
    "sex",
    "purposes",
    *LANDMARKS,
)


@dataclass(frozen=True)
class Desks:
    """What was laid out.

    ``asked``: reference of each new patient -> true syndrome, in order; ``own_label``: (hospital, what it calls a
    syndrome, the syndrome's key); ``aligned``: new patients' photos are crops already, since no detector is named
    that could find a face in them.
    """

    syndromes: tuple[Syndrome, ...]
    asked: Mapping[str, str]
    own_label: tuple[str, str, str]
    aligned: bool


@dataclass(frozen=True)
class _Source:
    cohort: Cohort
    protocol: Protocol
    content: Callable[[Photo], bytes]
    landmarks: Callable[[Photo], Points]
    aligned: bool

    def crop(self, photo: Photo) -> bytes:
        """The photo's crop on the template, as a file."""
        return _png(align(decode(self.content(photo), name=photo.id), self.landmarks(photo)))


def lay_out(scenario: Scenario, folder: Path, hospitals: Sequence[str], *, most_asked: int) -> Desks:
    """Write ``HOSPITAL/cohort.csv`` with its photos for each, and new patients' photos to ``new-patients/``.

    Raises:
        ConfigError: the scenario's cohort is stored already, without photos.
        CohortError: it cannot be read, or has fewer hospitals than the story.
    """
    source = _source(scenario)
    protocol = with_silos(source.protocol, scenario)
    sites = silo_names(protocol)
    if len(sites) < len(hospitals):
        raise CohortError(
            f"the cohort has {len(sites)} hospitals, the story {len(hospitals)}", remedy="take a split of more"
        )
    home = {site: hospitals[index % len(hospitals)] for index, site in enumerate(sites)}
    asked = _asked(protocol)
    trained = {protocol.patient_of[photo] for photo in protocol.train}
    rows: dict[str, list[dict[str, str]]] = {hospital: [] for hospital in hospitals}
    for patient, photo in source.cohort.photos():
        if patient.id in asked or photo.id not in protocol.silo_of:
            continue
        hospital = home[protocol.silo_of[photo.id]]
        number = f"{len(rows[hospital]) + 1:04d}.{_ending(photo)}"
        write_bytes(folder / hospital / "photos" / number, source.content(photo))
        purposes = "train;match" if patient.id in trained else "match"
        rows[hospital].append(_row(source, patient, photo, f"photos/{number}", purposes))
    known = {row["syndrome"] for held in rows.values() for row in held}
    new = _new_patients(source, folder, asked, known, most_asked)
    own_label = _call_it_otherwise(rows)
    for hospital, held in rows.items():
        write_text(folder / hospital / TABLE, _table(_COLUMNS, held))
    return Desks(source.cohort.syndromes, new, own_label, source.aligned)


def _call_it_otherwise(rows: Mapping[str, list[dict[str, str]]]) -> tuple[str, str, str]:
    """Let the second hospital have a name of its own, without identifiers, for a syndrome that the first knows."""
    first, second = list(rows)[:2]
    known = {row["syndrome"] for row in rows[first]}
    shared = Counter(row["syndrome"] for row in rows[second] if row["syndrome"] in known).most_common(1)
    if not shared:
        raise CohortError(f"{first} and {second} know no syndrome in common", remedy="take another split")
    key = shared[0][0]
    for row in rows[second]:
        if row["syndrome"] == key:
            row |= {"syndrome": OWN_LABEL, "syndrome_name": OWN_LABEL, "identifiers": ""}
    return second, OWN_LABEL, key


def _new_patients(
    source: _Source, folder: Path, asked: Iterable[str], known: set[str], most: int
) -> dict[str, str]:
    """Photos of those whom nobody knows, named by number, and the table that ``phenofed rank --batch`` reads.

    One patient a syndrome before a second of any.
    """
    of = {patient.id: patient for patient in source.cohort.patients}
    turns: dict[str, int] = {}
    waiting: list[tuple[int, int, Patient]] = []
    for place, patient in enumerate(of[name] for name in sorted(asked)):
        if patient.syndrome in known and patient.photos:
            turn = turns[str(patient.syndrome)] = turns.get(str(patient.syndrome), -1) + 1
            waiting.append((turn, place, patient))
    found: dict[str, str] = {}
    rows = []
    for number, (_, _, patient) in enumerate(sorted(waiting, key=lambda item: item[:2])[:most], 1):
        reference = f"new-{number:02d}"
        found[reference] = str(patient.syndrome)
        for index, photo in enumerate(patient.photos, 1):
            ending = "png" if source.aligned else _ending(photo)
            name = f"new-patients/{reference}-{index}.{ending}"
            write_bytes(folder / name, source.crop(photo) if source.aligned else source.content(photo))
            rows.append({"patient": reference, "photo": name})
    write_text(folder / NEW_PATIENTS, _table(("patient", "photo"), rows))
    return found


def _source(scenario: Scenario) -> _Source:
    match scenario.cohort:
        case SyntheticCohort(spec=spec):
            made = synthetic.make(spec, scenario.seed)
            return _Source(
                made.cohort,
                made.protocol,
                content=lambda photo: _png(made.crops[photo.id]),
                landmarks=lambda photo: TEMPLATE.tolist(),
                aligned=True,
            )
        case GmdbCohort() as cohort:
            read = gmdb.read(
                cohort.path,
                version=cohort.version,
                partition=cohort.partition,
                silos=cohort.silos,
                consent=RESEARCH,
            )
            if read.protocol is None:
                raise CohortError(f"{cohort.path} has no split", remedy="use a cohort with federated split files")
            return _Source(
                read.cohort,
                read.protocol,
                content=lambda photo: photo.path.read_bytes(),
                landmarks=lambda photo: photo.landmarks or (),
                aligned=cohort.detector is None,
            )
    raise ConfigError(
        "a story begins with photos, not with a stored cohort", remedy="name a gmdb or synthetic one"
    )


def _asked(protocol: Protocol) -> frozenset[str]:
    rare = protocol.rare[0].test if protocol.rare else ()
    return frozenset(protocol.patient_of[photo] for photo in (*protocol.frequent_test, *rare))


def _row(source: _Source, patient: Patient, photo: Photo, path: str, purposes: str) -> dict[str, str]:
    key = str(patient.syndrome)
    syndrome = source.cohort.syndrome(key)
    places = [f"{value:.2f}" for point in source.landmarks(photo) for value in point]
    return {
        "photo": path,
        # A bare number would stand in any file, and whether a patient is named somewhere could not be seen.
        "patient": f"story-patient-{patient.id}",
        "syndrome": key,
        "syndrome_name": syndrome.name,
        "identifiers": ";".join(syndrome.identifiers),
        "hpo_present": ";".join(patient.hpo_present),
        "age_years": "" if patient.age_years is None else f"{patient.age_years:g}",
        "sex": patient.sex or "",
        "purposes": purposes,
        **dict(zip(LANDMARKS, places, strict=False)),
    }


def _table(columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _png(crop: Pixels) -> bytes:
    picture = io.BytesIO()
    Image.fromarray(crop).save(picture, format="PNG")
    return picture.getvalue()


def _ending(photo: Photo) -> str:
    return photo.path.suffix.lstrip(".").lower() or "png"
