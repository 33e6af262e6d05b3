"""One photo's whole way: file -> decode -> landmarks -> crop -> verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

from common.cohort.schema import Photo
from common.errors import PhotoError
from common.faces import align, decode, quality
from common.storage import sha256_bytes

if TYPE_CHECKING:
    from common.faces.detect import Detector


def crop_photo(photo: Photo, detector: Detector | None = None) -> tuple[decode.Pixels, quality.Verdict]:
    """The (112, 112, 3) uint8 RGB crop of a photo and the verdict on it; look at ``verdict.usable``.

    Landmarks that came with the photo are used; without them the detector finds the face. A photo marked
    ``aligned`` is taken as it is, scaled to 112x112 where it is larger.

    Raises:
        PhotoError: the file is missing, altered since it was listed, hostile, corrupt, or has no face.
    """
    name = f"photo {photo.id}"
    content = decode.read_bytes(photo.path, name=name)
    if sha256_bytes(content) != photo.sha256:
        raise PhotoError(f"{name} changed since it was listed", remedy="read the cohort again")
    return crop_content(content, name=name, landmarks=photo.landmarks, aligned=photo.aligned, detector=detector)


def crop_content(
    content: bytes,
    *,
    name: str,
    landmarks: Sequence[tuple[float, float]] | None = None,
    aligned: bool = False,
    detector: Detector | None = None,
) -> tuple[decode.Pixels, quality.Verdict]:
    """``crop_photo`` of a file's content. ``name`` is what an error calls the photo.

    Raises:
        PhotoError: the content is hostile, corrupt, or shows no face.
    """
    image = decode.decode(content, name=name)
    if aligned:
        crop = _ready_made(image, name)
        return crop, quality.assess(crop)
    faces = 1
    if landmarks is None:
        if detector is None:
            raise PhotoError(f"{name} has no landmarks", remedy="give a detector and its SHA-256")
        found = detector.detect(image)
        if not found:
            raise PhotoError(f"{name} shows no face", remedy="use a photo of the whole face from the front")
        faces, points = len(found), np.asarray(found[0].landmarks, dtype=np.float64)
    else:
        points = np.asarray(landmarks, dtype=np.float64)
    try:
        crop = align.align(image, points)
    except PhotoError as error:
        raise PhotoError(f"{name}: {error.what}", remedy=error.remedy) from error
    height, width = image.shape[:2]
    return crop, quality.assess(crop, landmarks=points, shape=(height, width), faces=faces)


def _ready_made(image: decode.Pixels, name: str) -> decode.Pixels:
    height, width = image.shape[:2]
    if height != width or height < align.SIZE:
        raise PhotoError(
            f"{name} is listed as aligned but has {width}x{height} pixels",
            remedy=f"aligned crops have {align.SIZE}x{align.SIZE}; remove the crop to use the photo itself",
        )
    if height == align.SIZE:
        return image
    scaled = cv2.resize(image, (align.SIZE, align.SIZE), interpolation=cv2.INTER_AREA)
    return np.asarray(scaled, dtype=np.uint8)
