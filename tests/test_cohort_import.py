"""Photos become crops; each that does not is refused alone, with the row that listed it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from common.cohort import folder
from common.cohort.importing import DetectorFile, import_photos
from common.cohort.schema import Cohort, Consent, Patient, Photo
from common.errors import PhotoError, WeightsError
from common.faces.align import TEMPLATE
from common.faces.photos import crop_photo
from common.storage import sha256_file
from tests.cohort_files import drawn_face, drawn_landmarks, write_folder


def photo(path: Path, **changes: object) -> Photo:
    fields = {"id": path.stem, "path": path, "sha256": sha256_file(path), "landmarks": tuple(drawn_landmarks())}
    return Photo.model_validate({**fields, **changes})


def test_one_photo_on_its_whole_way(tmp_path: Path) -> None:
    drawn_face(1).save(tmp_path / "a.png")
    crop, verdict = crop_photo(photo(tmp_path / "a.png"))
    assert np.array_equal(crop, np.asarray(drawn_face(1))[8:120, 8:120])
    assert verdict.usable
    assert verdict.interocular == pytest.approx(35.24, abs=0.01)


def test_ready_made_crops_are_scaled_at_most(tmp_path: Path) -> None:
    ready = drawn_face(1).crop((8, 8, 120, 120))
    ready.save(tmp_path / "a.png")
    ready.resize((224, 224), 0).save(tmp_path / "b.png")
    ready.resize((100, 112)).save(tmp_path / "c.png")
    for name in "ab":
        crop, _ = crop_photo(photo(tmp_path / f"{name}.png", aligned=True, landmarks=None))
        assert np.array_equal(crop, np.asarray(ready))
    with pytest.raises(PhotoError, match="has 100x112 pixels"):
        crop_photo(photo(tmp_path / "c.png", aligned=True, landmarks=None))


def test_an_altered_photo_is_not_taken_for_the_one_listed(tmp_path: Path) -> None:
    drawn_face(1).save(tmp_path / "a.png")
    listed = photo(tmp_path / "a.png")
    drawn_face(2).save(tmp_path / "a.png")
    with pytest.raises(PhotoError, match="changed since it was listed"):
        crop_photo(listed)


def test_refused_photos_name_their_rows_and_spare_the_others(tmp_path: Path) -> None:
    write_folder(tmp_path, patients=6)
    (tmp_path / "face 0.png").write_bytes((tmp_path / "face 0.png").read_bytes()[:500])
    drawn_face(1).convert("L").point(lambda _: 9).save(tmp_path / "face 2.png")
    cohort = folder.read(tmp_path, consent=Consent()).cohort
    seen: list[tuple[int, int]] = []
    imported = import_photos(cohort, progress=lambda done, total: seen.append((done, total)))
    assert [(entry.file, entry.line) for entry in imported.refused] == [("cohort.csv", 2), ("cohort.csv", 4)]
    assert "corrupt or truncated" in imported.refused[0].reason
    assert "nothing is to be seen" in imported.refused[1].reason
    assert [patient.id for patient in imported.cohort.patients] == ["P-1", "P-3", "P-4", "P-5"]
    assert set(imported.crops) == {listed.id for _, listed in imported.cohort.photos()}
    assert seen == [(n, 6) for n in range(1, 7)]
    assert imported.images_per_s > 0


def test_photos_without_landmarks_need_a_detector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn_face(1).save(tmp_path / "a.png")
    bare = photo(tmp_path / "a.png", landmarks=None)
    cohort = Cohort(name="c", patients=(Patient(id="p", photos=(bare,)),), syndromes=())
    assert "no landmarks" in import_photos(cohort).refused[0].reason

    class Network:
        def setInputSize(self, size: tuple[int, int]) -> None:
            pass

        def detect(self, image: np.ndarray) -> tuple[int, np.ndarray | None]:
            if image.max() == 0 or faces == 0:
                return 1, None
            return 1, np.array([[8, 8, 112, 112, *(TEMPLATE + 8).ravel(), 0.9]] * faces)

    monkeypatch.setattr(cv2.FaceDetectorYN, "create", lambda *arguments: Network())
    (tmp_path / "net.onnx").write_bytes(b"net")
    detector = DetectorFile(tmp_path / "net.onnx", hashlib.sha256(b"net").hexdigest())
    faces = 2
    imported = import_photos(cohort, detector=detector)
    assert np.array_equal(imported.crops["a"], np.asarray(drawn_face(1))[8:120, 8:120])
    assert imported.verdicts["a"].faces == 2
    faces = 0
    assert import_photos(cohort, detector=detector).refused[0].reason == "photo a shows no face"
    with pytest.raises(WeightsError):
        import_photos(cohort, detector=DetectorFile(detector.path, "0" * 64))


def test_a_photo_under_two_patients_is_reported(tmp_path: Path) -> None:
    drawn_face(1).save(tmp_path / "a.png")
    drawn_face(1).save(tmp_path / "b.jpg", quality=60)
    patients = tuple(Patient(id=f"p{n}", photos=(photo(tmp_path / n),)) for n in ("a.png", "b.jpg"))
    imported = import_photos(Cohort(name="c", patients=patients, syndromes=()))
    assert [pair[:2] for pair in imported.duplicates] == [("a", "b")]


def test_several_processes_give_the_same_result(tmp_path: Path) -> None:
    write_folder(tmp_path, patients=6)
    (tmp_path / "face 4.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    cohort = folder.read(tmp_path, consent=Consent()).cohort
    one, two = import_photos(cohort), import_photos(cohort, processes=2)
    assert one.refused == two.refused
    assert list(one.crops) == list(two.crops)
    assert all(np.array_equal(one.crops[key], two.crops[key]) for key in one.crops)
    assert one.verdicts == two.verdicts
