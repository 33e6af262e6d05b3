"""A stored cohort is whole, pseudonymous, unreadable to others, and noticed when altered."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import numpy as np
import pytest

from common.cohort import gmdb, store
from common.cohort.importing import import_photos
from common.cohort.reading import ReadResult, Refused
from common.cohort.schema import Consent, Purpose
from common.errors import CohortError
from common.storage import sha256_file
from tests.cohort_files import write_gmdb


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> ReadResult:
    layout = write_gmdb(tmp_path_factory.mktemp("source") / "gmdb")
    return gmdb.read(layout.root, partition="site", silos=2, consent=Consent(purposes=frozenset(Purpose)))


@pytest.fixture(scope="module")
def crops(result: ReadResult) -> dict[str, np.ndarray]:
    return import_photos(result.cohort).crops


def test_what_was_saved_is_loaded(result: ReadResult, crops, tmp_path: Path) -> None:
    refused = [Refused("a.csv", 3, "has no file"), Refused("Jane Roe.json", 0, "has no photo")]
    store.save(tmp_path / "c", result.cohort, crops, protocol=result.protocol, refused=refused)
    stored = store.load(tmp_path / "c")
    assert stored.protocol == result.protocol
    assert stored.photo_ids == tuple(photo.id for _, photo in result.cohort.photos())
    assert stored.crops.shape == (12, 112, 112, 3)
    for photo in stored.photo_ids:
        assert np.array_equal(stored.crop(photo), crops[photo])
    assert stored.cohort.syndromes == result.cohort.syndromes
    assert [p.model_dump(exclude={"photos"}) for p in stored.cohort.patients] == [
        p.model_dump(exclude={"photos"}) for p in result.cohort.patients
    ]
    assert stored.refused[0] == refused[0]
    with pytest.raises(KeyError):
        stored.crop("none")


def test_names_of_files_are_not_kept(result: ReadResult, crops, tmp_path: Path) -> None:
    refused = [Refused("Jane Roe.json", 0, "has no photo")]
    store.save(tmp_path / "c", result.cohort, crops, refused=refused)
    text = (tmp_path / "c" / "cohort.json").read_text()
    assert "gmdb_images" not in text
    assert "Roe" not in text
    photo = store.load(tmp_path / "c").cohort.patients[0].photos[0]
    assert photo.sha256 == result.cohort.patients[0].photos[0].sha256
    assert photo.source == "gmdb_metadata/gmdb_train_images_v9.9.9.csv:2"


def test_only_its_owner_can_read_it(result: ReadResult, crops, tmp_path: Path) -> None:
    store.save(tmp_path / "c", result.cohort, crops)
    assert stat.S_IMODE((tmp_path / "c").stat().st_mode) == 0o700


def test_photos_without_a_crop_and_their_patients_are_left_out(result: ReadResult, crops, tmp_path: Path) -> None:
    some = {photo: crop for photo, crop in crops.items() if photo not in ("1", "9")}
    store.save(tmp_path / "c", result.cohort, some, protocol=result.protocol)
    stored = store.load(tmp_path / "c")
    assert len(stored.cohort.patients) == 10
    assert stored.protocol.train == ("2", "5", "6")
    assert stored.protocol.rare[0].gallery == ("11",)
    assert "9" not in stored.protocol.silo_of


def test_nothing_is_overwritten_unless_asked(result: ReadResult, crops, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    store.save(tmp_path / "empty", result.cohort, crops)
    with pytest.raises(CohortError, match="exists already: choose another"):
        store.save(tmp_path / "empty", result.cohort, crops)
    store.save(tmp_path / "empty", result.cohort, {"2": crops["2"]}, replace=True)
    assert store.load(tmp_path / "empty").photo_ids == ("2",)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("dear")
    with pytest.raises(CohortError, match="exists already"):
        store.save(tmp_path / "other", result.cohort, crops, replace=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "other"]


def test_a_failure_leaves_nothing_behind(result: ReadResult, crops, tmp_path: Path, monkeypatch) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    store.save(tmp_path / "old", result.cohort, {"2": crops["2"]})
    monkeypatch.setattr(np, "save", full)
    for target, replace in (("new", False), ("old", True)):
        with pytest.raises(CohortError, match="No space left on device"):
            store.save(tmp_path / target, result.cohort, crops, replace=replace)
    assert [p.name for p in tmp_path.iterdir()] == ["old"]
    assert store.load(tmp_path / "old").photo_ids == ("2",)


def test_only_crops_are_stored(result: ReadResult, tmp_path: Path) -> None:
    for wrong in (np.zeros((112, 112, 3)), np.zeros((64, 64, 3), dtype=np.uint8)):
        with pytest.raises(CohortError, match=r"no \(112, 112, 3\) uint8"):
            store.save(tmp_path / "c", result.cohort, {"1": wrong})
    with pytest.raises(CohortError, match="no photo with a crop"):
        store.save(tmp_path / "c", result.cohort, {})
    assert list(tmp_path.iterdir()) == []


def _resigned(folder: Path) -> None:
    hashes = {name: sha256_file(folder / name) for name in ("cohort.json", "crops.npy")}
    (folder / "manifest.json").write_text(json.dumps({"schema": 1, "sha256": hashes}))


def _pickled(folder: Path) -> None:
    np.save(folder / "crops.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    _resigned(folder)


def _huge(folder: Path) -> None:
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (999999999, 112, 112, 3), }"
    content = b"\x93NUMPY\x01\x00" + (len(header) + 1).to_bytes(2, "little") + header + b"\n" + bytes(12 * 37632)
    (folder / "crops.npy").write_bytes(content)
    _resigned(folder)


def _forgotten_field(folder: Path) -> None:
    content = json.loads((folder / "cohort.json").read_text())
    content["cohort"]["patients"][0]["email"] = "x"
    (folder / "cohort.json").write_text(json.dumps(content))
    _resigned(folder)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "manifest.json").unlink(), "no stored cohort: run phenofed cohort import"),
        (lambda f: (f / "manifest.json").write_text("[]"), "manifest.json is damaged"),
        (
            lambda f: (f / "manifest.json").write_text('{"schema": 2, "sha256": {}}'),
            "this program reads 1: update phenofed",
        ),
        (lambda f: (f / "cohort.json").write_text("{}"), "changed since it was written: import"),
        (lambda f: (f / "crops.npy").unlink(), "is damaged: import"),
        (_pickled, "does not fit the cohort"),
        (_huge, "is damaged"),
        (_forgotten_field, "is damaged"),
    ],
)
def test_damage_is_noticed(result: ReadResult, crops, tmp_path: Path, damage, message: str) -> None:
    store.save(tmp_path / "c", result.cohort, crops)
    damage(tmp_path / "c")
    with pytest.raises(CohortError) as caught:
        store.load(tmp_path / "c")
    assert message in str(caught.value)
