"""One photo filed under two patients is noticed; different faces and one patient's own photos are not."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from common.faces.align import align
from common.faces.duplicates import near_duplicates
from tests.cohort_files import drawn_face, drawn_landmarks, encoded


def _crop(seed: int) -> np.ndarray:
    return align(np.asarray(drawn_face(seed)), drawn_landmarks())


def _saved_again(crop: np.ndarray) -> np.ndarray:
    small = Image.fromarray(crop).resize((80, 80))
    content = encoded(small, "JPEG", quality=60)
    return np.asarray(Image.open(io.BytesIO(content)).resize((112, 112)).convert("RGB"))


def test_a_copy_under_another_patient_is_found() -> None:
    crops = [*(_crop(seed) for seed in range(20)), _saved_again(_crop(3))]
    ids = [f"photo-{i}" for i in range(21)]
    (pair,) = near_duplicates(crops, ids, ids)
    assert (pair.photo, pair.other) == ("photo-3", "photo-20")


def test_photos_of_one_patient_may_be_alike() -> None:
    crops = [_crop(1), _crop(1), _crop(2)]
    assert near_duplicates(crops, ["a", "b", "c"], ["p", "p", "q"]) == []
    assert len(near_duplicates(crops, ["a", "b", "c"], ["p", "q", "r"])) == 1


def test_pairs_across_blocks_are_found_once() -> None:
    crops = [_crop(seed) for seed in range(40)] * 30
    ids = [str(i) for i in range(1200)]
    pairs = near_duplicates(crops, ids, ids)
    assert len(pairs) == 40 * 30 * 29 // 2
    assert len({frozenset(pair[:2]) for pair in pairs}) == len(pairs)


def test_few_and_flat_crops_are_no_problem() -> None:
    flat = np.zeros((112, 112, 3), dtype=np.uint8)
    assert near_duplicates([], [], []) == []
    assert near_duplicates([flat, flat], ["a", "b"], ["p", "q"]) == []
