"""Photos become bare upright RGB pixels, and hostile files become one clear refusal."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from common.errors import PhotoError
from common.faces import decode as decoding
from common.faces.decode import decode, read_bytes
from tests.cohort_files import drawn_face, encoded

SIDES = np.zeros((40, 60, 3), dtype=np.uint8)
SIDES[:20, :30], SIDES[:20, 30:], SIDES[20:, :30], SIDES[20:, 30:] = (255, 0, 0), (0, 255, 0), (0, 0, 255), 255


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP"])
def test_lossless_formats_give_their_pixels_in_rgb_order(kind: str) -> None:
    content = encoded(Image.fromarray(SIDES), kind, **({"lossless": True} if kind == "WEBP" else {}))
    pixels = decode(content, name="photo")
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, SIDES)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_comes_out_upright(orientation: int) -> None:
    undo = {
        1: SIDES,
        2: SIDES[:, ::-1],
        3: SIDES[::-1, ::-1],
        4: SIDES[::-1],
        5: SIDES.transpose(1, 0, 2),
        6: np.rot90(SIDES),
        7: SIDES[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(SIDES, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(Image.fromarray(np.ascontiguousarray(undo)), exif=exif.tobytes())
    assert np.array_equal(decode(content, name="photo"), SIDES)


def test_transparency_lies_on_white_and_palettes_are_resolved() -> None:
    clear = Image.new("RGBA", (8, 8), (10, 20, 30, 0))
    clear.paste((10, 20, 30, 255), (0, 0, 4, 8))
    for image, kind in ((clear, "PNG"), (clear, "WEBP"), (clear.quantize(8), "PNG")):
        pixels = decode(encoded(image, kind, **({"lossless": True} if kind == "WEBP" else {})), name="photo")
        assert pixels.shape == (8, 8, 3)
        assert (pixels[:, 4:] > 250).all()
        assert (abs(pixels[:, :4].astype(int) - (10, 20, 30)) < 8).all()
    palette = Image.fromarray(SIDES).convert("P", palette=Image.Palette.ADAPTIVE)
    assert np.array_equal(decode(encoded(palette, transparency=bytes([255, 255, 255, 255])), name="photo"), SIDES)


def test_sixteen_bits_of_grey_are_scaled_and_not_clipped() -> None:
    deep = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
    pixels = decode(encoded(Image.fromarray(deep)), name="photo")
    assert np.array_equal(pixels[..., 0], np.rint(deep / 257).astype(np.uint8))
    assert (pixels[..., 0] == pixels[..., 2]).all()


def test_grey_bilevel_and_cmyk_photos_become_rgb() -> None:
    grey = Image.fromarray(np.full((9, 9), 77, dtype=np.uint8))
    assert (decode(encoded(grey), name="photo") == 77).all()
    assert set(np.unique(decode(encoded(grey.convert("1")), name="photo"))) <= {0, 255}
    red = decode(encoded(Image.new("RGB", (16, 16), (250, 10, 10)).convert("CMYK"), "JPEG"), name="photo")
    assert red[8, 8, 0] > 200 > 60 > red[8, 8, 1]


def test_phone_pictures_with_several_images_give_the_first() -> None:
    first, second = drawn_face(1), drawn_face(2)
    content = encoded(first, "MPO", save_all=True, append_images=[second], quality=95)
    pixels = decode(content, name="photo")
    assert np.abs(pixels.astype(int) - np.asarray(first)).mean() < 5


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_animations_are_refused(kind: str) -> None:
    content = encoded(drawn_face(1), kind, save_all=True, append_images=[drawn_face(2)])
    with pytest.raises(PhotoError, match="animated"):
        decode(content, name="photo")


@pytest.mark.parametrize("side", [5001, 9000, 20_000])
def test_large_pictures_are_refused_before_they_are_decoded(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000)))
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded a picture that is too large"))
    with pytest.raises(PhotoError, match="25 Mpx"):
        decode(content + chunk(b"IEND", b""), name="photo")


def test_files_over_the_byte_limit_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(decoding, "MAX_BYTES", 1000)
    content = encoded(drawn_face(1))
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(PhotoError, match="MiB"):
        decode(content, name="photo")
    with pytest.raises(PhotoError, match="MiB"):
        read_bytes(tmp_path / "a.png", name="photo")


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PPM", "ICO", "PDF"])
def test_formats_off_the_allowlist_are_refused(kind: str) -> None:
    with pytest.raises(PhotoError, match="no JPEG, PNG, WebP or BMP"):
        decode(encoded(drawn_face(1, size=64), kind), name="photo")


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"RIFF1234WEBP"])
def test_stumps_are_refused(content: bytes) -> None:
    with pytest.raises(PhotoError):
        decode(content, name="photo")


def test_truncated_photos_are_refused_and_not_padded() -> None:
    content = encoded(drawn_face(1), "JPEG", quality=90)
    with pytest.raises(PhotoError, match="corrupt or truncated: save it again"):
        decode(content[: len(content) // 2], name="photo")


def test_nothing_appended_or_attached_survives() -> None:
    exif = Image.Exif()
    exif[0x010E] = "Jane Roe"
    photo = encoded(drawn_face(1), "JPEG", exif=exif.tobytes(), comment=b"ward 7")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("letter.txt", "Jane Roe")
    pixels = decode(photo + archive.getvalue(), name="photo")
    assert type(pixels) is np.ndarray
    assert b"Jane" not in pixels.tobytes()
    assert np.array_equal(pixels, decode(photo, name="photo"))


def test_broken_exif_leaves_a_sound_photo_as_it_is() -> None:
    content = encoded(Image.fromarray(SIDES), exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff\x00\x05garbage")
    assert np.array_equal(decode(content, name="photo"), SIDES)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_mutated_photos_decode_or_are_refused(data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(_SOURCES)))
    for position, value in data.draw(st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)))):
        content[position] = value
    cut = data.draw(st.integers(0, len(content)) | st.just(len(content)))
    try:
        pixels = decode(bytes(content[:cut]), name="photo")
    except PhotoError:
        return
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3


_SMALL = drawn_face(3).resize((24, 20))
_EXIF = Image.Exif()
_EXIF[0x0112] = 6
_SOURCES = [
    encoded(_SMALL, "JPEG", exif=_EXIF.tobytes()),
    encoded(_SMALL, "JPEG", progressive=True),
    encoded(_SMALL, "PNG", exif=_EXIF.tobytes()),
    encoded(_SMALL.quantize(16), "PNG", transparency=3),
    encoded(_SMALL, "WEBP"),
    encoded(_SMALL, "BMP"),
    encoded(_SMALL.convert("CMYK"), "JPEG"),
]
