"""Bytes of a photo -> bare RGB pixels.

Photos come from anywhere, so the order is fixed: size of the file, allowlisted format by its first bytes,
size of the picture from its header, and only then decoding. What is returned are rebuilt pixels: no EXIF, no
comments, no colour profile, nothing appended to the file.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from common.errors import PhotoError

Pixels = npt.NDArray[np.uint8]

MAX_PIXELS = 25_000_000
MAX_BYTES = 64 << 20
EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")

_ORIENTATION_TAG = 0x0112
_ADVICE = "save it again as JPEG or PNG"


def decode(content: bytes, *, name: str) -> Pixels:
    """The photo as (h, w, 3) uint8 RGB, upright by its EXIF orientation; transparency lies on white.

    ``name`` stands for the photo in messages. Phone pictures that hold several images give their first.

    Raises:
        PhotoError: more than 64 MiB or 25 Mpx, not JPEG, PNG, WebP or BMP, animated, corrupt or truncated.
    """
    if len(content) > MAX_BYTES:
        raise PhotoError(f"{name} has more than {MAX_BYTES >> 20} MiB", remedy="scale the photo down")
    kind = _format(content)
    if kind is None:
        raise PhotoError(f"{name} is no JPEG, PNG, WebP or BMP photo", remedy=_ADVICE)
    try:
        # Pillow warns of odd metadata and of large pictures; the metadata is dropped and the size checked here.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=(kind,)) as image:
                _check_header(image, name)
                image.load()
                return _oriented(_rgb(image), _orientation(image))
    except PhotoError:
        raise
    except Image.DecompressionBombError as error:
        raise PhotoError(_too_large(name), remedy="scale the photo down") from error
    except MemoryError as error:
        raise PhotoError(f"{name} does not fit into memory", remedy="scale the photo down") from error
    except Exception as error:
        # A hostile file can make a decoder raise nearly anything; whatever it is, this photo is refused.
        raise PhotoError(f"{name} is corrupt or truncated", remedy=_ADVICE) from error


def read_bytes(path: Path, *, name: str) -> bytes:
    """The content of a photo's file, at most 64 MiB of it.

    Raises:
        PhotoError: the file is missing, unreadable, empty or too large.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise PhotoError(
            f"{name} cannot be read ({error.strerror or error})", remedy="check that the file is there"
        ) from error
    if not content:
        raise PhotoError(f"{name} is an empty file", remedy="copy the photo again")
    if len(content) > MAX_BYTES:
        raise PhotoError(f"{name} has more than {MAX_BYTES >> 20} MiB", remedy="scale the photo down")
    return content


def _format(content: bytes) -> str | None:
    if content.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WEBP"
    if content.startswith(b"BM"):
        return "BMP"
    return None


def _check_header(image: Image.Image, name: str) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise PhotoError(_too_large(name, f" ({width}x{height})"), remedy="scale the photo down")
    # A JPEG with several pictures (MPO, as phones make them) is no animation: its first picture is the photo.
    if image.format in ("PNG", "WEBP") and getattr(image, "n_frames", 1) > 1:
        raise PhotoError(f"{name} is animated", remedy="save one frame of it as JPEG or PNG")


def _too_large(name: str, size: str = "") -> str:
    return f"{name}{size} has more than {MAX_PIXELS // 1_000_000} Mpx"


def _rgb(image: Image.Image) -> Pixels:
    """New pixels (h, w, 3) from any of Pillow's modes."""
    if image.mode.startswith("I") or image.mode == "F":
        # Sixteen bits of grey: Pillow's own conversion would clip instead of scale.
        deep = np.clip(np.asarray(image, dtype=np.float64), 0, 65535)
        grey = (deep / 257 + 0.5).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        colours = image.convert("RGBA")
        ground = Image.new("RGBA", colours.size, (255, 255, 255, 255))
        image = Image.alpha_composite(ground, colours)
    return np.array(image.convert("RGB"), dtype=np.uint8)


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:
        # Metadata too broken to read says nothing on orientation; the pixels are sound.
        return 1
    return value if isinstance(value, int) else 1


def _oriented(pixels: Pixels, orientation: int) -> Pixels:
    """Undo the eight orientations of EXIF 2.3, tag 0x0112."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
