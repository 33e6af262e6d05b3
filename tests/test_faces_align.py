"""Five landmarks put a face on the template, whatever its size, turn and the source's idea of left."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import PhotoError
from common.faces.align import SIZE, TEMPLATE, align, ordered, similarity
from common.faces.quality import Limits, assess
from common.faces.views import VIEWS, render
from tests.cohort_files import drawn_face, drawn_landmarks


@given(scale=st.floats(0.05, 20), turn=st.floats(-180, 180), x=st.floats(-500, 500), y=st.floats(-500, 500))
def test_a_similarity_is_recovered_exactly(scale: float, turn: float, x: float, y: float) -> None:
    c, s = scale * np.cos(np.radians(turn)), scale * np.sin(np.radians(turn))
    points = TEMPLATE @ np.array([[c, -s], [s, c]]).T + (x, y)
    matrix = similarity(points, TEMPLATE)
    assert np.allclose(points @ matrix[:, :2].T + matrix[:, 2], TEMPLATE, atol=1e-6)
    assert np.linalg.det(matrix[:, :2]) > 0


def test_it_is_the_least_squares_similarity() -> None:
    rng = np.random.default_rng(0)
    points = TEMPLATE * 2.3 + rng.normal(0, 6, (5, 2))
    best = similarity(points, TEMPLATE)

    def error(m: np.ndarray) -> float:
        return float(((points @ m[:, :2].T + m[:, 2] - TEMPLATE) ** 2).sum())

    for _ in range(200):
        a, b, x, y = rng.normal(0, 0.01, 4)
        changed = best + np.array([[a, -b, x], [b, a, y]])
        assert error(changed) >= error(best)


def test_a_photo_on_the_template_is_cut_and_not_resampled() -> None:
    image = np.asarray(drawn_face(1))
    crop = align(image, drawn_landmarks())
    assert crop.shape == (SIZE, SIZE, 3)
    assert crop.dtype == np.uint8
    assert np.array_equal(crop, image[8:120, 8:120])


@settings(max_examples=25, deadline=None)
@given(turn=st.floats(-170, 170))
def test_a_turned_face_comes_out_upright(turn: float) -> None:
    image = np.asarray(drawn_face(2))
    matrix = cv2.getRotationMatrix2D((64, 64), turn, 1.0)
    turned = cv2.warpAffine(image, matrix, (128, 128))
    points = np.array(drawn_landmarks()) @ matrix[:, :2].T + matrix[:, 2]
    crop = align(turned, points)
    centre = np.s_[30:90, 30:90]
    assert np.abs(crop[centre].astype(int) - image[8:120, 8:120][centre]).mean() < 8


def test_left_and_right_may_be_the_subjects_or_the_viewers() -> None:
    points = np.array(drawn_landmarks())
    swapped = points[[1, 0, 2, 4, 3]]
    half = points[[1, 0, 2, 3, 4]]
    assert np.array_equal(ordered(swapped), points)
    assert np.array_equal(ordered(half), points)
    assert np.array_equal(align(np.asarray(drawn_face(1)), swapped), align(np.asarray(drawn_face(1)), points))


def test_a_large_photo_is_averaged_down_without_moving_the_face() -> None:
    image = np.asarray(drawn_face(3))
    large = cv2.resize(image, None, fx=10, fy=10, interpolation=cv2.INTER_NEAREST)
    points = (np.array(drawn_landmarks()) + 0.5) * 10 - 0.5
    assert np.abs(align(large, points).astype(int) - image[8:120, 8:120]).max() <= 2
    checks = np.indices((1280, 1280)).sum(axis=0) % 2 * 255
    grey = align(np.repeat(checks[..., None], 3, axis=2).astype(np.uint8), points)
    assert np.abs(grey.astype(int) - 127).max() <= 3


@pytest.mark.parametrize(
    "points",
    [
        np.zeros((5, 2)),
        np.full((5, 2), np.nan),
        np.full((5, 2), np.inf),
        TEMPLATE[:4],
        TEMPLATE * 1e8,
        np.stack([np.arange(5), np.arange(5)], axis=1) * 20.0,
        np.array([(0, 0), (100, 0), (50, 900), (10, 50), (90, 50)]),
    ],
)
def test_points_that_are_no_face_are_refused(points: np.ndarray) -> None:
    with pytest.raises(PhotoError, match="landmarks"):
        align(np.asarray(drawn_face(1)), points)


def test_the_four_views() -> None:
    crops = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), dtype=np.uint8)
    assert len(set(VIEWS)) == 4
    plain, grey, flipped, both = (render(crops, flip=v.flip, grey=v.grey) for v in VIEWS)
    assert np.array_equal(plain, crops)
    assert np.array_equal(flipped, crops[:, :, ::-1])
    assert np.array_equal(both, grey[:, :, ::-1])
    luma = crops @ np.array([0.299, 0.587, 0.114])
    assert np.abs(grey - luma[..., None]).max() <= 0.5 + 1e-9
    assert grey.dtype == np.uint8
    assert np.array_equal(render(crops[0], flip=True, grey=True), both[0])


def test_a_sharp_frontal_face_passes_without_warning() -> None:
    image = np.asarray(drawn_face(4))
    verdict = assess(align(image, drawn_landmarks()), landmarks=drawn_landmarks(), shape=image.shape[:2])
    assert verdict.usable
    assert verdict.warnings == ()
    assert verdict.interocular == pytest.approx(35.24, abs=0.01)
    assert verdict.roll == pytest.approx(0, abs=1)
    assert verdict.yaw == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        (lambda crop: cv2.GaussianBlur(crop, (0, 0), 6), "blurred"),
        (lambda crop: crop // 8, "dark"),
        (lambda crop: 255 - crop // 8, "overexposed"),
    ],
)
def test_poor_crops_are_warned_of_and_kept(change, warning: str) -> None:
    verdict = assess(change(align(np.asarray(drawn_face(4)), drawn_landmarks())))
    assert warning in verdict.warnings
    assert verdict.usable


def test_pose_and_size_are_read_from_the_landmarks() -> None:
    crop = align(np.asarray(drawn_face(4)), drawn_landmarks())
    aside = TEMPLATE.copy()
    aside[2, 0] += 14
    assert "turned aside" in assess(crop, landmarks=aside).warnings
    c, s = np.cos(np.radians(60)), np.sin(np.radians(60))
    assert "tilted" in assess(crop, landmarks=TEMPLATE @ np.array([[c, -s], [s, c]]).T).warnings
    assert "small face" in assess(crop, landmarks=TEMPLATE / 2).warnings
    assert any("edge" in w for w in assess(crop, landmarks=TEMPLATE - (60, 0), shape=(112, 112)).warnings)
    assert any("3 faces" in w for w in assess(crop, faces=3).warnings)
    tiny = assess(crop, landmarks=TEMPLATE / 6)
    assert not tiny.usable
    assert "too small" in tiny.reasons[0]


def test_an_empty_crop_is_refused_and_limits_can_be_set() -> None:
    flat = np.full((112, 112, 3), 128, dtype=np.uint8)
    assert not assess(flat).usable
    assert assess(flat, limits=Limits(refuse_contrast=0)).usable
