"""Photos of a cohort -> crops, one verdict a photo; every photo that does not come in is listed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import cv2

from common.cohort.reading import Refused, refusal
from common.cohort.schema import Cohort, Photo
from common.cohort.store import with_photos
from common.errors import CohortError, PhotoError
from common.faces.decode import Pixels
from common.faces.detect import Detector
from common.faces.duplicates import NearDuplicate, near_duplicates
from common.faces.photos import crop_photo
from common.faces.quality import Verdict

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class DetectorFile:
    """A face detector by path and SHA-256, to be loaded where it runs."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class Imported:
    """What became of a cohort's photos.

    ``cohort`` holds the photos that have a crop; ``crops`` and ``verdicts`` are by photo id, a verdict also for
    photos refused by it.
    """

    cohort: Cohort
    crops: dict[str, Pixels]
    verdicts: dict[str, Verdict]
    refused: list[Refused] = field(default_factory=list)
    duplicates: list[NearDuplicate] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def images_per_s(self) -> float:
        """Photos handled in a second, refused ones included."""
        handled = len(self.crops) + len(self.refused)
        return handled / self.seconds if self.seconds > 0 else 0.0


def import_photos(
    cohort: Cohort,
    *,
    detector: DetectorFile | None = None,
    processes: int = 1,
    progress: Progress | None = None,
) -> Imported:
    """Decode, align and judge every photo of a cohort; nothing is written.

    ``progress`` is called with (photos done, all photos). With ``processes`` above 1 the photos are shared out
    to that many fresh processes; the result does not depend on it.

    Raises:
        WeightsError: the detector cannot be loaded.
        CohortError: the system ended a process, as it does when memory runs out.
    """
    started = time.perf_counter()
    photos = [photo for _, photo in cohort.photos()]
    patient_of = {photo.id: patient.id for patient, photo in cohort.photos()}
    crops: dict[str, Pixels] = {}
    verdicts: dict[str, Verdict] = {}
    refused: list[Refused] = []
    for done, (photo, outcome) in enumerate(zip(photos, _outcomes(photos, detector, processes), strict=True), 1):
        if isinstance(outcome, PhotoError):
            refused.append(refusal(photo, outcome.what))
        else:
            crop, verdict = outcome
            verdicts[photo.id] = verdict
            if verdict.usable:
                crops[photo.id] = crop
            else:
                refused.append(refusal(photo, f"photo {photo.id}: {'; '.join(verdict.reasons)}"))
        if progress is not None:
            progress(done, len(photos))
    ids = list(crops)
    duplicates = near_duplicates(list(crops.values()), ids, [patient_of[photo] for photo in ids])
    return Imported(
        cohort=with_photos(cohort, ids),
        crops=crops,
        verdicts=verdicts,
        refused=refused,
        duplicates=duplicates,
        seconds=time.perf_counter() - started,
    )


_Outcome = tuple[Pixels, Verdict] | PhotoError

_process_detector: Detector | None = None


def _outcomes(photos: Sequence[Photo], detector: DetectorFile | None, processes: int) -> Iterator[_Outcome]:
    # Loading it here first reports bad weights once, before any process starts.
    loaded = None if detector is None else Detector(detector.path, detector.sha256)
    if processes <= 1 or len(photos) < 2 * processes:
        for photo in photos:
            yield _outcome(photo, loaded)
        return
    del loaded
    context = get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=_start_process, initargs=(detector,)) as pool:
        try:
            yield from pool.map(_outcome_in_process, photos, chunksize=16)
        except BrokenProcessPool as error:
            raise CohortError(
                "a process that decodes photos was ended from outside", remedy="free memory or use one process"
            ) from error


def _outcome(photo: Photo, detector: Detector | None) -> _Outcome:
    try:
        return crop_photo(photo, detector)
    except PhotoError as error:
        return error


def _start_process(detector: DetectorFile | None) -> None:
    global _process_detector
    cv2.setNumThreads(1)
    _process_detector = None if detector is None else Detector(detector.path, detector.sha256)


def _outcome_in_process(photo: Photo) -> _Outcome:
    return _outcome(photo, _process_detector)
