"""Find faces with YuNet (Wu et al. 2023): an ONNX file named by path and SHA-256, run by OpenCV.

detector = Detector(Path("yunet.onnx"), sha256="...")
faces = detector.detect(image)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from common.errors import PhotoError, WeightsError
from common.faces.align import Points
from common.faces.decode import Pixels
from common.storage import sha256_bytes

# The network misses faces that fill a large photo; at 640 pixels it was seen to find them all.
LONGEST_SIDE = 640
MIN_SCORE = 0.6
MAX_FILE = 256 << 20

_OVERLAP = 0.3
_MOST_FACES = 100


@dataclass(frozen=True)
class Face:
    """One face in pixels of the photo: ``box`` x1, y1, x2, y2; ``landmarks`` (5, 2); ``score`` 0..1."""

    box: tuple[float, float, float, float]
    landmarks: Points
    score: float


class Detector:
    """A loaded YuNet.

    Raises:
        WeightsError: the file is missing, has another hash, or is no YuNet.
    """

    def __init__(self, path: Path, sha256: str) -> None:
        try:
            if path.stat().st_size > MAX_FILE:
                raise WeightsError(f"{path} is too large for a face detector", remedy="check the path")
            content = path.read_bytes()
        except OSError as error:
            raise WeightsError(
                f"cannot read the face detector {path} ({error.strerror or error})", remedy="check the path"
            ) from error
        found = sha256_bytes(content)
        if found != sha256.strip().lower():
            raise WeightsError(
                f"face detector {path} has SHA-256 {found}, not {sha256}",
                remedy="fetch the file again, or give the hash of the file that you trust",
            )
        # The bytes that were hashed are the bytes that run; reading the path again could give others.
        model = np.frombuffer(content, dtype=np.uint8)
        # OpenCV 5 warns on each load that its new engine knows no other targets than the CPU.
        level = cv2.utils.logging.getLogLevel()
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
        try:
            self._network = cv2.FaceDetectorYN.create(
                "onnx",
                model,
                np.zeros(0, dtype=np.uint8),
                (LONGEST_SIDE, LONGEST_SIDE),
                MIN_SCORE,
                _OVERLAP,
                _MOST_FACES,
            )
            self._rows(np.zeros((64, 64, 3), dtype=np.uint8))
        except (cv2.error, PhotoError) as error:
            raise WeightsError(
                f"{path} does not run as a YuNet face detector",
                remedy="use YuNet of 2023 with a dynamic input size",
            ) from error
        finally:
            cv2.utils.logging.setLogLevel(level)

    def detect(self, image: Pixels) -> list[Face]:
        """The faces in an RGB image (h, w, 3) uint8, the principal one first; empty where there is none.

        Raises:
            PhotoError: the network fails on this image.
        """
        smaller, factor = fitted(image)
        return principal_first(faces_of(self._rows(smaller), factor), image.shape[:2])

    def _rows(self, image: Pixels) -> npt.NDArray[np.float32]:
        try:
            self._network.setInputSize((image.shape[1], image.shape[0]))
            _, rows = self._network.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        except cv2.error as error:
            raise PhotoError("the face detector failed on the photo", remedy="save it at another size") from error
        return np.zeros((0, 15), dtype=np.float32) if rows is None else np.asarray(rows, dtype=np.float32)


def fitted(image: Pixels) -> tuple[Pixels, npt.NDArray[np.float64]]:
    """(image with its longest side at most 640, factors (x, y) from its pixels back to the original's)."""
    height, width = image.shape[:2]
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    if scale == 1.0:
        return np.ascontiguousarray(image), np.ones(2)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    smaller = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return np.asarray(smaller, dtype=np.uint8), np.array([width / size[0], height / size[1]])


def faces_of(rows: npt.NDArray[Any], factor: npt.NDArray[np.float64]) -> list[Face]:
    """Faces from YuNet's rows (n, 15): x, y, w, h, five landmarks, score; rows not finite are left out."""
    faces = []
    for row in np.asarray(rows, dtype=np.float64):
        if np.isfinite(row).all() and row[2] > 0 and row[3] > 0:
            x1, y1 = row[:2] * factor
            x2, y2 = (row[:2] + row[2:4]) * factor
            landmarks = row[4:14].reshape(5, 2) * factor
            faces.append(
                Face(box=(float(x1), float(y1), float(x2), float(y2)), landmarks=landmarks, score=float(row[14]))
            )
    return faces


def principal_first(faces: list[Face], shape: tuple[int, ...]) -> list[Face]:
    """Large central faces first: area, halved for a face whose middle lies in a corner of the (h, w) photo."""
    height, width = shape[:2]

    def weight(face: Face) -> float:
        x1, y1, x2, y2 = face.box
        offset = np.hypot((x1 + x2) / width - 1, (y1 + y2) / height - 1) / np.sqrt(2)
        return float((x2 - x1) * (y2 - y1) * (1 - 0.5 * min(1.0, float(offset))))

    return sorted(faces, key=weight, reverse=True)
