"""Five landmarks -> a crop on the ArcFace template (Deng et al. 2019), by a least-squares similarity."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from common.errors import PhotoError
from common.faces.decode import Pixels

Points = npt.NDArray[np.float64]

SIZE = 112

# Image-left eye, image-right eye, nose tip, image-left and image-right mouth corner, as (x, y) pixels of the crop.
TEMPLATE: Points = np.array(
    [
        (38.2946, 51.6963),
        (73.5318, 51.5014),
        (56.0252, 71.7366),
        (41.5493, 92.3655),
        (70.7299, 92.2041),
    ]
)
TEMPLATE.setflags(write=False)

# Root mean square distance to the template, in pixels of the crop, beyond which five points are no face: a face
# turned by 45 degrees comes to 7, a full profile to 16.
MAX_RESIDUAL = 18.0

# Breadth over length of the five points, below which they lie in a line: a full profile has 0.38.
_MIN_BREADTH = 0.2


def align(image: Pixels, landmarks: npt.ArrayLike) -> Pixels:
    """The (112, 112, 3) uint8 RGB crop of an RGB image (h, w, 3), given (5, 2) landmarks in its pixels.

    Landmarks are taken in either left-right order. Where the photo is much larger than the crop it is averaged
    down first, so that fine patterns do not alias. Beyond the photo's edge the crop is black.

    Raises:
        PhotoError: the landmarks are not finite, coincide or do not form a face.
    """
    points = ordered(landmarks)
    matrix = similarity(points, TEMPLATE)
    residual = np.sqrt(((points @ matrix[:, :2].T + matrix[:, 2] - TEMPLATE) ** 2).sum(axis=1).mean())
    spread = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    if residual > MAX_RESIDUAL or spread[1] < _MIN_BREADTH * spread[0]:
        raise PhotoError("the landmarks do not form a face", remedy="correct them or let the detector find them")
    image = np.ascontiguousarray(image)
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if scale < 0.5:
        image, matrix = _averaged(image, matrix, scale)
    crop = cv2.warpAffine(image, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR)
    return np.asarray(crop, dtype=np.uint8)


def ordered(landmarks: npt.ArrayLike) -> Points:
    """(5, 2) float landmarks with the image-left eye and mouth corner of an upright face first.

    Some sources name left and right by the subject, some by the viewer. The side is told by the turn from
    the eye line to the direction of the mouth, which holds for rotated heads too.

    Raises:
        PhotoError: not five finite points, or points too close to tell a face.
    """
    points: Points = np.array(landmarks, dtype=np.float64)
    if points.shape != (5, 2) or not np.isfinite(points).all() or np.abs(points).max() > 1e6:
        raise PhotoError("the landmarks are not five points", remedy="correct them or use the detector")
    down = points[3:].mean(axis=0) - points[:2].mean(axis=0)
    for first, second in ((0, 1), (3, 4)):
        across = points[second] - points[first]
        if across[0] * down[1] - across[1] * down[0] < 0:
            points[[first, second]] = points[[second, first]]
    if np.hypot(*(points[1] - points[0])) < 1 or np.hypot(*down) < 1:
        raise PhotoError("the landmarks coincide", remedy="correct them or let the detector find them")
    return points


def similarity(source: Points, target: Points) -> npt.NDArray[np.float64]:
    """The (2, 3) matrix of the rotation, scale and shift that takes ``source`` (n, 2) nearest to ``target``.

    Umeyama (1991) in two dimensions: as complex numbers, w = a z + b has the least-squares solution
    a = <z - mean, w - mean> / |z - mean|^2, which can never mirror.
    """
    z = source[:, 0] + 1j * source[:, 1]
    w = target[:, 0] + 1j * target[:, 1]
    centred = z - z.mean()
    a = np.vdot(centred, w - w.mean()) / np.vdot(centred, centred).real
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def _averaged(
    image: Pixels, matrix: npt.NDArray[np.float64], scale: float
) -> tuple[Pixels, npt.NDArray[np.float64]]:
    """The image shrunk by area averaging to about the scale of the crop, and the matrix for it."""
    height, width = image.shape[:2]
    new_width = max(1, round(width * scale))
    new_height = max(1, round(height * scale))
    smaller = cv2.resize(image, (new_width, new_height), interpolation=cv2.INTER_AREA)
    # Pixel centres: x_small = (x + 0.5) * factor - 0.5.
    factor = np.array([new_width / width, new_height / height])
    linear = matrix[:, :2] / factor
    shift = matrix[:, 2] + linear @ (0.5 - 0.5 * factor)
    return np.asarray(smaller, dtype=np.uint8), np.hstack([linear, shift[:, None]])
