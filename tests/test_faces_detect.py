"""The detector works at a bounded size, maps back, puts the principal face first, and trusts hashed weights."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from common.errors import PhotoError, WeightsError
from common.faces.align import TEMPLATE
from common.faces.detect import Detector, Face, faces_of, fitted, principal_first


class _Network:
    """Answers as YuNet would for one face that fills the middle of any image."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, int]] = []

    def setInputSize(self, size: tuple[int, int]) -> None:
        self.sizes.append(size)

    def detect(self, image: np.ndarray) -> tuple[int, np.ndarray | None]:
        height, width = image.shape[:2]
        assert (width, height) == self.sizes[-1]
        if image.max() == 0:
            return 1, None
        if image[0, 0, 0] > image[0, 0, 2]:
            raise cv2.error("not what was asked for")
        points = TEMPLATE / 112 * (width, height)
        return 1, np.array([[0.2 * width, 0.2 * height, 0.6 * width, 0.6 * height, *points.ravel(), 0.9]])


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> _Network:
    fake = _Network()
    monkeypatch.setattr(cv2.FaceDetectorYN, "create", lambda *arguments: fake)
    return fake


@pytest.fixture
def weights(tmp_path: Path) -> tuple[Path, str]:
    path = tmp_path / "yunet.onnx"
    path.write_bytes(b"weights")
    return path, hashlib.sha256(b"weights").hexdigest()


def test_landmarks_of_a_large_photo_come_back_in_its_own_pixels(
    network: _Network, weights: tuple[Path, str]
) -> None:
    image = np.full((1500, 2000, 3), (200, 100, 50), dtype=np.uint8)
    (face,) = Detector(*weights).detect(image)
    assert network.sizes[-1] == (640, 480)
    assert np.allclose(face.landmarks, TEMPLATE / 112 * (2000, 1500), atol=1e-6)
    assert face.box == pytest.approx((400, 300, 1600, 1200))


def test_small_photos_keep_their_size_and_no_face_is_an_empty_answer(
    network: _Network, weights: tuple[Path, str]
) -> None:
    assert Detector(*weights).detect(np.zeros((100, 80, 3), dtype=np.uint8)) == []
    assert network.sizes[-1] == (80, 100)


def test_a_failing_network_refuses_the_photo(network: _Network, weights: tuple[Path, str]) -> None:
    swapped = np.full((100, 100, 3), (50, 100, 200), dtype=np.uint8)
    with pytest.raises(PhotoError, match="detector failed"):
        Detector(*weights).detect(swapped)


def test_weights_are_trusted_by_hash_alone(weights: tuple[Path, str], tmp_path: Path) -> None:
    path, digest = weights
    with pytest.raises(WeightsError, match="fetch the file again"):
        Detector(path, "0" * 64)
    with pytest.raises(WeightsError, match="check the path"):
        Detector(tmp_path / "missing.onnx", digest)
    with pytest.raises(WeightsError, match="does not run"):
        Detector(path, digest.upper())


def test_extreme_shapes_still_fit() -> None:
    smaller, factor = fitted(np.zeros((3, 5000, 3), dtype=np.uint8))
    assert smaller.shape == (1, 640, 3)
    assert factor == pytest.approx((5000 / 640, 3))


def test_the_large_central_face_goes_first() -> None:
    def face(x: float, y: float, side: float) -> Face:
        return Face(box=(x, y, x + side, y + side), landmarks=TEMPLATE, score=0.9)

    corner, centre, small = face(0, 0, 110), face(150, 150, 100), face(180, 180, 30)
    assert principal_first([small, corner, centre], (400, 400)) == [centre, corner, small]


def test_rows_that_are_no_faces_are_left_out() -> None:
    good = [1, 1, 10, 10, *TEMPLATE.ravel(), 0.9]
    rows = np.array([good, [np.nan] * 15, [1, 1, 0, 10, *TEMPLATE.ravel(), 0.9]])
    assert len(faces_of(rows, np.ones(2))) == 1
