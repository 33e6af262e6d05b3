"""From a scenario to hospitals: read or render the cohort, crop the photos, give each silo its workspace."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from common.cohort import gmdb, store
from common.cohort.importing import DetectorFile, import_photos
from common.cohort.reading import ReadResult, Refused
from common.cohort.schema import Cohort, Consent, Purpose
from common.cohort.splits import Protocol
from common.cohort.store import StoredCohort as Stored
from common.errors import CohortError, ConfigError
from common.faces.decode import Pixels
from common.seeding import generator
from simulations import synthetic
from simulations.folder import RunFolder
from simulations.progress import Progress
from simulations.scenario import GmdbCohort, Scenario, StoredCohort, SyntheticCohort

# A research data set was collected for research: its patients may be trained on and matched, not displayed.
RESEARCH = Consent(purposes=frozenset({Purpose.TRAIN, Purpose.MATCH}))


def prepare(scenario: Scenario, folder: RunFolder, progress: Progress) -> Stored:
    """The whole cohort with its protocol; silos and the pooled workspace are written beside it.

    What a former call finished is read, not made again.

    Raises:
        CohortError: the cohort cannot be read, has no split, or a silo is left without a usable photo.
    """
    if not (folder.cohort / "manifest.json").is_file():
        cohort, protocol, crops, refused = _source(scenario, progress)
        protocol = with_silos(protocol, scenario)
        usable = protocol.restricted_to(crops)
        _check(protocol, usable)
        _write_silos(folder, cohort, usable, crops)
        # Last, since its presence says that all of it is there.
        store.save(folder.cohort, cohort, crops, protocol=usable, refused=refused)
    return store.load(folder.cohort)


def silo_names(protocol: Protocol) -> tuple[str, ...]:
    """Silos that hold training photos, in the order of their UTF-8 names."""
    return tuple(sorted({protocol.silo_of[photo] for photo in protocol.train}, key=str.encode))


def with_silos(protocol: Protocol, scenario: Scenario) -> Protocol:
    """The protocol with a silo for each photo; patients that have none are dealt out from the scenario's seed."""
    if all(photo in protocol.silo_of for photo in protocol.label_of):
        return protocol
    count = scenario.cohort.silos if isinstance(scenario.cohort, GmdbCohort) else 4
    names = [f"silo-{number}" for number in range(1, count + 1)]
    patients = sorted(set(protocol.patient_of.values()))
    order = generator(scenario.seed, "silos").permutation(len(patients))
    home = {patients[index]: names[place % count] for place, index in enumerate(order)}
    dealt = {photo: home[patient] for photo, patient in protocol.patient_of.items()}
    return replace(protocol, silo_of=dealt | dict(protocol.silo_of))


def _source(
    scenario: Scenario, progress: Progress
) -> tuple[Cohort, Protocol, Mapping[str, Pixels], list[Refused]]:
    match scenario.cohort:
        case SyntheticCohort(spec=spec):
            with progress.stage("rendering faces", 1) as advance:
                made = synthetic.make(spec, scenario.seed)
                advance(1)
            return made.cohort, made.protocol, made.crops, []
        case GmdbCohort() as source:
            return _photographs(source, progress)
        case StoredCohort(path=path):
            stored = store.load(path)
            crops = {photo: stored.crop(photo) for photo in stored.photo_ids}
            return stored.cohort, _protocol(stored.protocol, str(path)), crops, list(stored.refused)


def _photographs(
    source: GmdbCohort, progress: Progress
) -> tuple[Cohort, Protocol, Mapping[str, Pixels], list[Refused]]:
    read: ReadResult = gmdb.read(
        source.path,
        version=source.version,
        partition=source.partition,
        silos=source.silos,
        consent=RESEARCH,
    )
    photos = sum(1 for _ in read.cohort.photos())
    with progress.stage("aligning photographs", photos) as advance:
        imported = import_photos(read.cohort, detector=_detector(source), progress=lambda done, of: advance(1))
    return (
        read.cohort,
        _protocol(read.protocol, str(source.path)),
        imported.crops,
        [*read.refused, *imported.refused],
    )


def _detector(source: GmdbCohort) -> DetectorFile | None:
    if source.detector is None:
        return None
    if source.detector_sha256 is None:
        raise ConfigError("cohort.detector has no hash", remedy="set cohort.detector_sha256")
    return DetectorFile(source.detector, source.detector_sha256)


def _protocol(protocol: Protocol | None, origin: str) -> Protocol:
    if protocol is None:
        raise CohortError(f"{origin} says nothing of gallery and test patients", remedy="use a cohort with splits")
    return protocol


def _check(protocol: Protocol, usable: Protocol) -> None:
    """Every silo and every role must still have photos after the import."""
    lost = sorted(set(silo_names(protocol)) - set(silo_names(usable)))
    if lost:
        raise CohortError(
            f"{', '.join(lost)} has no usable photo to train on",
            remedy="mend the refused photos, or leave the silo out of the split",
        )
    if len(silo_names(usable)) < 2:
        raise CohortError("one silo alone is no federation", remedy="use a split of two silos or more")
    if len({usable.label_of[photo] for photo in usable.train}) < 2:
        raise CohortError("the training photos show one syndrome", remedy="training needs at least two")
    if not usable.frequent_test and not any(split.test for split in usable.rare):
        raise CohortError("no test patient is left", remedy="see the refused photos")


def _write_silos(folder: RunFolder, cohort: Cohort, protocol: Protocol, crops: Mapping[str, Pixels]) -> None:
    """Each silo's workspace, and the pooled one, with the training patients alone allowed to train."""
    held = {name: [p for p, silo in protocol.silo_of.items() if silo == name] for name in silo_names(protocol)}
    for place, photos in [(folder.silo(name), held[name]) for name in held] + [
        (folder.pooled, sorted(protocol.silo_of))
    ]:
        mine = store.with_photos(cohort, photos)
        store.save(place / "cohort", _training_only(mine, protocol), crops, replace=True)


def _training_only(cohort: Cohort, protocol: Protocol) -> Cohort:
    """Take the purpose 'train' from patients that the protocol keeps out of training."""
    trained = {protocol.patient_of[photo] for photo in protocol.train}
    patients = []
    for patient in cohort.patients:
        purposes = patient.consent.purposes
        if patient.id not in trained:
            purposes = purposes - {Purpose.TRAIN}
        consent = patient.consent.model_copy(update={"purposes": purposes})
        patients.append(patient.model_copy(update={"consent": consent}))
    return cohort.model_copy(update={"patients": tuple(patients)})


def matchable(stored: Stored, on: datetime.date) -> tuple[str, ...]:
    """Photo ids of patients who may be compared, in stored order."""
    allowed = {photo.id for _, photo in stored.cohort.for_purpose(Purpose.MATCH, on).photos()}
    return tuple(photo for photo in stored.photo_ids if photo in allowed)


def crops_of(stored: Stored, photo_ids: tuple[str, ...]) -> Pixels:
    """The crops (n, 112, 112, 3) of the named photos."""
    return np.stack([stored.crop(photo) for photo in photo_ids])
