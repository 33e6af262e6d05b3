"""Where things lie in the GMDB layout: tables of one version, photos, ready-made crops, landmarks."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path

from common.cohort.reading import Refused
from common.cohort.schema import Photo, Point
from common.cohort.tables import read_rows
from common.errors import CohortError, PhotoError
from common.faces.decode import EXTENSIONS, read_bytes
from common.storage import sha256_bytes

METADATA = "gmdb_metadata"
ROLES = ("train", "val", "frequent_gallery", "frequent_test", "rare_gallery", "rare_test")

_ROLE_FILE = re.compile(rf"^gmdb_({'|'.join(ROLES)})_images_(.+)\.csv$", re.IGNORECASE)
_ALIGNED = re.compile(r"^(.+?)(?:_rot)?_aligned$")
_COORDINATES = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", *(f"kp{i}_{a}" for i in range(1, 6) for a in "xy"))

Landmarks = tuple[Point, Point, Point, Point, Point]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Found:
    """The face of one photo as the coordinates file gives it."""

    box: Box | None
    landmarks: Landmarks
    image: Path | None = None


@dataclass
class PhotoFiles:
    """Photo id -> what to cut the crop from. Ready-made crops go before photos."""

    aligned: dict[str, Path]
    images: dict[str, Path]
    faces: dict[str, Found] = field(default_factory=dict)

    def photo(self, photo_id: str, *, source: str) -> Photo:
        """The record of a photo.

        Raises:
            PhotoError: no file of that id, or one that cannot be read.
        """
        face = self.faces.get(photo_id)
        crop = self.aligned.get(photo_id)
        path = crop or (face and face.image) or self.images.get(photo_id)
        if path is None:
            raise PhotoError(f"photo {photo_id} has no file")
        digest = sha256_bytes(read_bytes(path, name=f"photo {photo_id}"))
        if crop or face is None:
            return Photo(id=photo_id, path=path, sha256=digest, source=source, aligned=crop is not None)
        return Photo(id=photo_id, path=path, sha256=digest, source=source, landmarks=face.landmarks, box=face.box)


def find_tables(root: Path, version: str | None) -> tuple[dict[str, Path], str]:
    """(role -> split file, version label), the version told by the file names where it is None.

    Raises:
        CohortError: no GMDB layout, no split file, or several versions to choose from.
    """
    metadata = root / METADATA
    if not root.is_dir():
        raise CohortError(f"{root} is not a folder", remedy="check the path")
    if not metadata.is_dir():
        inner = sorted(p.name for p in root.iterdir() if (p / METADATA).is_dir())
        hint = f"name one of its folders: {', '.join(inner)}" if inner else "is it a GMDB folder?"
        raise CohortError(f"{root} has no folder '{METADATA}'", remedy=hint)
    by_version: dict[str, dict[str, Path]] = {}
    for path in sorted(metadata.iterdir()):
        match = _ROLE_FILE.match(path.name)
        if match:
            by_version.setdefault(match[2], {})[match[1].lower()] = path
    if not by_version:
        raise CohortError(
            f"{metadata} has no split file", remedy="it needs files such as gmdb_train_images_<version>.csv"
        )
    known = ", ".join(sorted(by_version))
    if version is None and len(by_version) > 1:
        raise CohortError(f"{metadata} holds several versions ({known})", remedy="name the version to read")
    version = version or next(iter(by_version))
    if version not in by_version:
        raise CohortError(f"{metadata} has no version '{version}'", remedy=f"it holds {known}")
    return by_version[version], version


def find_photos(root: Path) -> tuple[PhotoFiles, list[Refused]]:
    """Every photo, crop and landmark below ``root``, and the rows of the coordinates file that were refused.

    Raises:
        CohortError: none of the photo folders exists, or the coordinates file lacks a column.
    """
    folders = [root / name for name in ("gmdb_images", "gmdb_align", "gmdb_crops")]
    if not any(folder.is_dir() for folder in folders):
        raise CohortError(f"{root} has no folder 'gmdb_images', 'gmdb_align' or 'gmdb_crops'", remedy="add one")
    files = PhotoFiles(aligned={}, images=_by_stem(folders[0]))
    for folder in folders[1:]:
        for stem, path in _by_stem(folder).items():
            match = _ALIGNED.match(stem)
            if match:
                files.aligned.setdefault(match[1], path)
    coordinates = root / "gmdb_rot" / "face_coords.csv"
    refused: list[Refused] = []
    if coordinates.is_file():
        name = coordinates.relative_to(root).as_posix()
        rows, refused = read_rows(
            coordinates, name=name, required=("img", *_COORDINATES[4:]), optional=_COORDINATES
        )
        rotated = _by_stem(coordinates.parent)
        for row in rows:
            stem = photo_id(row["img"]).removesuffix("_rot")
            numbers = _numbers([row[column] for column in _COORDINATES[4:]])
            if numbers is None:
                refused.append(row.refuse("has landmarks that are no numbers"))
            elif stem in files.faces:
                refused.append(row.refuse(f"photo {stem} has landmarks already"))
            else:
                landmarks = tuple(zip(numbers[::2], numbers[1::2], strict=True))
                box = _numbers([row[column] for column in _COORDINATES[:4]])
                # Coordinates belong to the rotated copy of a photo where there is one.
                files.faces[stem] = Found(
                    box=(box[0], box[1], box[2], box[3]) if box else None,
                    landmarks=landmarks,  # type: ignore[arg-type]
                    image=rotated.get(photo_id(row["img"])),
                )
    return files, refused


def photo_id(cell: str) -> str:
    """A photo's id from a cell that may carry the file's extension."""
    path = Path(cell)
    return cell[: -len(path.suffix)] if path.suffix.lower() in EXTENSIONS else cell


def _by_stem(folder: Path) -> dict[str, Path]:
    """File stem -> path of the photos in a folder, the first extension of the allowlist first."""
    found: dict[str, Path] = {}
    if folder.is_dir():
        photos = (path for path in folder.iterdir() if path.suffix.lower() in EXTENSIONS)
        for path in sorted(photos, key=lambda path: (EXTENSIONS.index(path.suffix.lower()), path.name)):
            found.setdefault(path.stem, path)
    return found


def _numbers(cells: list[str]) -> list[float] | None:
    try:
        values = [float(cell) for cell in cells]
    except ValueError:
        return None
    return values if all(math.isfinite(value) for value in values) else None
