"""Hospital cameras: what a site's equipment and habits do to every photo taken there.

Lower resolution, blur, colour cast, exposure, vignette, sensor noise and JPEG, in the order of a real camera.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from simulations.faces.face import Rgb

Crop = NDArray[np.uint8]


@dataclass(frozen=True)
class Camera:
    """One camera and its room.

    ``gains``: white balance for R, G, B. ``gamma``: above 1 darkens the middle tones. ``detail``: share of the
    crop's pixels in each direction that the lens and sensor resolve. ``blur`` and ``noise``: standard deviations
    in pixels and in grey levels. ``quality``: JPEG 1..100. ``backdrop``: the wall, or None for varying places.
    """

    gains: Rgb = (1.0, 1.0, 1.0)
    gamma: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    detail: float = 1.0
    blur: float = 0.0
    noise: float = 0.0
    vignette: float = 0.0
    quality: int = 95
    backdrop: Rgb | None = None


IDEAL = Camera()


def sample_camera(random: np.random.Generator, *, spread: float = 1.0) -> Camera:
    """A camera drawn at random; ``spread`` 0 gives nearly the ideal one, 1 what hospitals have."""
    cast = 1.0 + spread * random.normal(0, 0.045, 3)
    wall = random.uniform(70, 220) + random.normal(0, 16, 3)
    return Camera(
        gains=(float(cast[0]), float(cast[1] * 0.5 + 0.5), float(cast[2])),
        gamma=float(np.exp(spread * random.normal(0, 0.14))),
        contrast=float(np.exp(spread * random.normal(0, 0.1))),
        saturation=float(np.exp(spread * random.normal(0, 0.13))),
        detail=float(1.0 - spread * 0.5 * random.random() ** 2),
        blur=float(spread * 0.7 * random.random() ** 2),
        noise=float(spread * random.uniform(0.5, 4.5)),
        vignette=float(spread * 0.3 * random.random() ** 2),
        quality=round(95 - spread * 45 * random.random()),
        backdrop=None
        if random.random() < 0.4
        else (float(np.clip(wall[0], 5, 250)), float(np.clip(wall[1], 5, 250)), float(np.clip(wall[2], 5, 250))),
    )


def photograph(crop: Crop, camera: Camera, random: np.random.Generator) -> Crop:
    """The crop as that camera would give it: (n, n, 3) uint8 RGB in and out; each shot varies a little."""
    size = crop.shape[0]
    picture: NDArray[Any] = crop
    detail = float(np.clip(camera.detail * np.exp(random.normal(0, 0.06)), 0.3, 1.0))
    if detail < 0.97:
        small = max(24, round(size * detail))
        picture = cv2.resize(picture, (small, small), interpolation=cv2.INTER_AREA)
        picture = cv2.resize(picture, (size, size), interpolation=cv2.INTER_LINEAR)
    blur = camera.blur * np.exp(random.normal(0, 0.3)) * size / 112
    if blur > 0.15:
        reach = 2 * int(np.ceil(2 * blur)) + 1
        picture = cv2.GaussianBlur(picture, (reach, reach), float(blur))
    linear = _colour(camera, random)
    picture = cv2.transform(picture, linear)
    picture = cv2.LUT(picture, _tone(camera, random))
    if camera.vignette:
        place = np.linspace(-1, 1, size, dtype=np.float32) ** 2
        fall = 1.0 - np.float32(0.5 * camera.vignette) * (place[:, None] + place[None, :])
        picture = cv2.multiply(picture, cv2.merge([fall, fall, fall]), dtype=cv2.CV_8U)
    if camera.noise:
        # Grain of brightness, and some of it again in each colour: one draw serves both.
        grain = random.standard_normal((112, 112), dtype=np.float32) * np.float32(camera.noise)
        if size != 112:
            grain = np.asarray(cv2.resize(grain, (size, size)), np.float32)
        shifted = [0.5 * np.roll(grain, 7 * channel + 3, 1) for channel in range(3)]
        picture = cv2.add(picture, cv2.merge([0.8 * grain + part for part in shifted]), dtype=cv2.CV_8U)
    quality = int(np.clip(camera.quality + random.normal(0, 3), 20, 98))
    blue_first = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    _, coded = cv2.imencode(".jpg", blue_first, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR_RGB), np.uint8)


def _colour(camera: Camera, random: np.random.Generator) -> NDArray[np.float32]:
    """The 3 x 3 matrix of white balance and saturation, with a shot's own small cast."""
    gains = np.asarray(camera.gains) * (1.0 + random.normal(0, 0.015, 3))
    grey = np.array([0.299, 0.587, 0.114])
    mix = camera.saturation * np.eye(3) + (1.0 - camera.saturation) * grey[None, :]
    return np.asarray(np.diag(gains) @ mix, np.float32)


def _tone(camera: Camera, random: np.random.Generator) -> NDArray[np.uint8]:
    """The 256 output levels of exposure, gamma and contrast."""
    level = np.arange(256) / 255.0
    exposure = np.exp(random.normal(0, 0.06))
    bright = np.clip(level * exposure, 0, 1) ** camera.gamma
    level = ((bright - 0.5) * camera.contrast + 0.5) * 255 + 0.5
    return np.asarray(np.clip(level, 0, 255), np.uint8)
