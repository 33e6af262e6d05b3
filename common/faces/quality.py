"""A verdict on each photo: what it measures, why it is refused, what a person should look at.

Only what makes a crop worthless refuses it. A blurred or turned photo may be the only one that a hospital has,
so those are warnings.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from common.faces.align import ordered
from common.faces.decode import Pixels


@dataclass(frozen=True)
class Limits:
    """Thresholds of a verdict, in the units of ``Verdict``."""

    refuse_interocular: float = 8.0
    refuse_contrast: float = 3.0
    warn_interocular: float = 24.0
    warn_blur: float = 25.0
    warn_yaw: float = 0.45
    warn_roll: float = 40.0
    warn_dark: float = 40.0
    warn_bright: float = 220.0
    warn_outside: float = 0.15


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True)
class Verdict:
    """What was measured on one photo.

    ``interocular``: distance of the eyes in pixels of the photo; ``yaw``: offset of the nose from the middle of
    the face in half face widths, 0 frontal, about 1 profile; ``roll``: degrees of the eye line; ``blur``:
    variance of the Laplacian on the crop's luma, low is blurred; ``exposure`` and ``contrast``: mean and standard
    deviation of the luma, 0..255. None where a ready-made crop came without landmarks.
    """

    usable: bool
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    faces: int = 1
    interocular: float | None = None
    yaw: float | None = None
    roll: float | None = None
    blur: float = 0.0
    exposure: float = 0.0
    contrast: float = 0.0


def assess(
    crop: Pixels,
    *,
    landmarks: npt.ArrayLike | None = None,
    shape: tuple[int, int] | None = None,
    faces: int = 1,
    limits: Limits = DEFAULT_LIMITS,
) -> Verdict:
    """The verdict on a crop (112, 112, 3) cut by ``landmarks`` (5, 2) from a photo of ``shape`` (h, w).

    ``faces``: how many the detector saw.

    Raises:
        PhotoError: the landmarks are no five distinct points.
    """
    luma = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    blur = float(cv2.Laplacian(luma, cv2.CV_64F).var())
    exposure, contrast = float(luma.mean()), float(luma.std())
    reasons, warned = [], []
    if contrast < limits.refuse_contrast:
        reasons.append("nothing is to be seen in it")
    if blur < limits.warn_blur:
        warned.append("blurred")
    if exposure < limits.warn_dark:
        warned.append("dark")
    if exposure > limits.warn_bright:
        warned.append("overexposed")
    if faces > 1:
        warned.append(f"{faces} faces, the largest central one is used")
    interocular = yaw = roll = None
    if landmarks is not None:
        points = ordered(landmarks)
        interocular, yaw, roll = _pose(points)
        if interocular < limits.refuse_interocular:
            reasons.append(f"the face is too small ({interocular:.0f} pixels between the eyes)")
        elif interocular < limits.warn_interocular:
            warned.append("small face")
        if yaw > limits.warn_yaw:
            warned.append("turned aside")
        if abs(roll) > limits.warn_roll:
            warned.append("tilted")
        if shape is not None and _outside(points, shape) > limits.warn_outside:
            warned.append("cut off at the photo's edge")
    return Verdict(
        usable=not reasons,
        reasons=tuple(reasons),
        warnings=tuple(warned),
        faces=faces,
        interocular=interocular,
        yaw=yaw,
        roll=roll,
        blur=blur,
        exposure=exposure,
        contrast=contrast,
    )


def _pose(points: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """(interocular pixels, yaw in half face widths, roll in degrees) of ordered landmarks."""
    across = points[1] - points[0]
    interocular = float(np.hypot(*across))
    axis = across / interocular
    middle = (points[:2].mean(axis=0) + points[3:].mean(axis=0)) / 2
    yaw = abs(float((points[2] - middle) @ axis)) / (interocular / 2)
    return interocular, yaw, float(np.degrees(np.arctan2(across[1], across[0])))


def _outside(points: npt.NDArray[np.float64], shape: tuple[int, int]) -> float:
    """Largest part of the face's extent by which a landmark lies beyond the photo's edge."""
    extent = float(np.ptp(points, axis=0).max())
    limit = np.array([shape[1] - 1, shape[0] - 1], dtype=np.float64)
    return float(np.maximum(-points, points - limit).max()) / extent
