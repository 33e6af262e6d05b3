"""How many photos a CPU-second come in: listed, decoded, aligned, judged, stored."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import cv2
import numpy as np

from common.cohort import folder, gmdb, store
from common.cohort.importing import DetectorFile, import_photos
from common.cohort.reading import ReadResult
from common.errors import ConfigError
from common.faces.align import TEMPLATE
from common.faces.decode import Pixels
from common.storage import write_bytes, write_text
from simulations.benchmarks.bench import Bench, Measured
from simulations.benchmarks.clock import repeated
from simulations.prepare import RESEARCH
from simulations.scenario import GmdbCohort

MOST_PHOTOS = 256
SHAPE = (640, 480)  # pixels of a written photo, height and width
SCALE, LEFT, TOP = 4, 16, 96  # where the crop comes to lie in it
QUALITY = 90


def measure(bench: Bench) -> Measured:
    """``import_images_per_s``: photos with landmarks to a stored cohort, a CPU-second of one process.

    Photos are the scenario's crops, enlarged and written as JPEG; a GMDB folder is imported as it is.
    """
    source = bench.scenario.cohort
    if isinstance(source, GmdbCohort):
        detector = _detector(source)
        what = f"photos of {source.path.name}"
    else:
        detector = None
        place = write_photos(bench)
        what = f"JPEG photos of {SHAPE[1]}x{SHAPE[0]} with landmarks"

    def read() -> ReadResult:
        if isinstance(source, GmdbCohort):
            return gmdb.read(source.path, version=source.version, partition=None, consent=RESEARCH)
        return folder.read(place, consent=RESEARCH)

    counts: dict[str, int] = {}

    def bring_in() -> None:
        listed = read()
        imported = import_photos(listed.cohort, detector=detector)
        store.save(
            bench.folder / "imported",
            imported.cohort,
            imported.crops,
            refused=[*listed.refused, *imported.refused],
            replace=True,
        )
        counts.update(
            images=len(imported.crops) + len(imported.refused),
            refused=len(imported.refused) + len(listed.refused),
        )

    bench.say(f"importing {what}, {bench.repeat} repetitions")
    samples = repeated(bench.repeat, bring_in)
    rate = counts["images"] / samples.median
    return Measured(
        {
            "import_images_per_s": rate,
            "import_images": float(counts["images"]),
            "import_refused": float(counts["refused"]),
        },
        ("photos", "refused", "CPU-s", "least .. most", "images a CPU-second"),
        (
            (
                str(counts["images"]),
                str(counts["refused"]),
                f"{samples.median:.3f}",
                samples.spread,
                f"{rate:.1f}",
            ),
        ),
        (f"{what[0].upper()}{what[1:]}; one process.",),
    )


def write_photos(bench: Bench) -> Path:
    """A folder with ``cohort.csv`` and a JPEG for each of the cohort's first photos; its path."""
    stored, place = bench.cohort, bench.folder / "photos"
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([*folder.REQUIRED, *folder.LANDMARKS])
    points = TEMPLATE * SCALE + (LEFT, TOP)
    listed = [(p, photo) for p in stored.cohort.patients if p.syndrome for photo in p.photos][:MOST_PHOTOS]
    for number, (patient, photo) in enumerate(listed):
        name = f"{number:05d}.jpg"
        write_bytes(place / name, jpeg(stored.crop(photo.id)))
        table.writerow([name, patient.id, patient.syndrome, *(f"{value:.2f}" for value in points.ravel())])
    write_text(place / "cohort.csv", text.getvalue())
    return place


def jpeg(crop: Pixels) -> bytes:
    """A crop (112, 112, 3) in the middle of a larger photo, as JPEG."""
    side = crop.shape[0] * SCALE
    photo = np.full((*SHAPE, 3), 127, dtype=np.uint8)
    photo[TOP : TOP + side, LEFT : LEFT + side] = cv2.resize(crop, (side, side), interpolation=cv2.INTER_CUBIC)
    _, content = cv2.imencode(".jpg", photo[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return content.tobytes()


def _detector(source: GmdbCohort) -> DetectorFile | None:
    if source.detector is None:
        return None
    if source.detector_sha256 is None:
        raise ConfigError("cohort.detector has no hash", remedy="set cohort.detector_sha256")
    return DetectorFile(source.detector, source.detector_sha256)
