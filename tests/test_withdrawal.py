"""A patient withdraws: nothing of the patient stays but a keyed hash, and what was trained with them is named."""

from __future__ import annotations

import datetime
import json
import threading
from pathlib import Path

import numpy as np
import pytest

from client.gallery.cache import GalleryCache
from client.gallery.keeper import GalleryKeeper
from client.patients.consents import SiteConsents
from client.patients.participation import Part, Participation
from client.patients.patient_key import PatientKey
from client.patients.withdrawal import close_rows, withdraw
from client.workspace.workspace import Workspace
from common.cohort import store
from common.cohort.schema import Purpose
from common.errors import AgentError
from common.ranking.patients import Embeddings, Encodings
from tests.consortium_folder import done, refusal
from tests.hospital_workspace import audit, bring, patients, workspace

TODAY = datetime.date(2026, 6, 1)
EVERYBODY = tuple((f"{number}.png", f"P-{number}", "OMIM:122470", "train;match;discover") for number in (1, 2, 3))
RELEASE = "a" * 64


@pytest.fixture
def hospital(tmp_path: Path) -> Workspace:
    made = workspace(tmp_path)
    bring(made, *EVERYBODY)
    return made


def photo_of(hospital: Workspace, patient: str) -> str:
    return patients(hospital)[patient].photos[0].id


def kept(hospital: Workspace) -> GalleryCache:
    """A cache with an encoding of every photo."""
    held = store.load(hospital.cohort_folder)
    photos = {photo.id: photo.sha256 for _, photo in held.cohort.photos()}
    vectors = np.eye(len(photos), 8, dtype=np.float32)[:, None, None]
    cache = GalleryCache(hospital.gallery_folder / "encodings.safetensors")
    encodings = Encodings(tuple(photos), vectors, ("m",), ((False, False),), (1.0,))
    hospital.gallery_folder.mkdir(exist_ok=True)
    cache.write(encodings, RELEASE, photos)
    return cache


def test_nothing_of_the_patient_stays_on_disk(hospital: Workspace) -> None:
    held = store.load(hospital.cohort_folder)
    photo = photo_of(hospital, "P-2")
    crop = held.crop(photo).tobytes()[:4000]
    kept(hospital)
    Participation(hospital.folder).took_part("run-7", ["P-1", "P-2"])
    state = hospital.folder / "training" / "run-7" / "round-00003.safetensors"
    state.parent.mkdir(parents=True)
    state.write_bytes(b"anchors")
    done("silo", "consent", "withdraw", hospital.folder, "P-2")
    assert set(patients(hospital)) == {"P-1", "P-3"}
    assert not state.exists()
    contents = [path.read_bytes() for path in hospital.folder.rglob("*") if path.is_file()]
    assert contents
    assert not any(b"P-2" in content or photo.encode() in content or crop in content for content in contents)
    assert store.load(hospital.cohort_folder).crop(photo_of(hospital, "P-3")).any()


def test_what_was_trained_with_the_patient_is_named_and_written_down(hospital: Workspace) -> None:
    record = Participation(hospital.folder)
    record.took_part("run-7", ["P-1", "P-2"])
    record.took_part("run-8", ["P-1"])
    record.released("trial-3", run="run-7")
    record.released("trial-4", run="run-9", parent="trial-3")
    record.released("trial-5", run="run-9")
    said = done("silo", "consent", "withdraw", hospital.folder, "P-2")
    assert "run run-7; releases made of it: trial-3, trial-4\n" in said
    assert "run-8" not in said
    token = PatientKey(hospital.folder).token("P-2")
    lines = {entry.event: entry for entry in reversed(audit(hospital)[1:])}
    assert set(lines) == {"withdraw", "withdraw.trained", "withdraw.released"}
    assert all(entry.facts["patient"] == token for entry in lines.values())
    assert lines["withdraw.released"].facts["release"] == "trial-3"
    assert lines["withdraw"].facts["purposes"] == "train,match,discover,display"


def test_withdrawal_from_one_purpose_leaves_the_others(hospital: Workspace) -> None:
    cache = kept(hospital)
    photos = {photo.id: photo.sha256 for p in patients(hospital).values() for photo in p.photos}
    gone = photo_of(hospital, "P-1")
    done("silo", "consent", "withdraw", hospital.folder, "P-1", "--purpose", "match")
    assert patients(hospital)["P-1"].consent.purposes == {Purpose.TRAIN, Purpose.DISCOVER}
    left = cache.read(RELEASE, photos)
    assert left is not None
    assert set(left.photo_ids) == photos.keys() - {gone}
    for purpose in ("train", "discover"):
        done("silo", "consent", "withdraw", hospital.folder, "P-1", "--purpose", purpose)
    assert set(patients(hospital)) == {"P-2", "P-3"}


def test_the_last_patient_takes_the_store_along(hospital: Workspace) -> None:
    for patient in ("P-1", "P-2", "P-3"):
        withdraw(hospital, patient, None, TODAY)
    assert not hospital.cohort_folder.exists()
    assert "P-1: not stored" in done("silo", "consent", "show", hospital.folder, "P-1")


def test_an_unknown_patient_changes_nothing(hospital: Workspace) -> None:
    before = store.written(hospital.cohort_folder)
    for command in (["withdraw"], ["show"], ["set", "--purposes", "match"]):
        error = refusal("silo", "consent", command[0], hospital.folder, "P-9", *command[1:])
        assert "no patient 'P-9'" in str(error)
    assert store.written(hospital.cohort_folder) == before
    assert not (hospital.folder / "consents.json").exists()


def test_a_withdrawal_that_was_interrupted_is_finished_by_the_next(
    hospital: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as killed:
        killed.setattr(
            "client.patients.withdrawal.write", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            withdraw(hospital, "P-1", None, TODAY)
    bring(hospital, *EVERYBODY)
    assert set(patients(hospital)) == {"P-2", "P-3"}
    assert withdraw(hospital, "P-1", None, TODAY).photos == 0


def test_without_an_agent_the_embedding_leaves_the_served_gallery_here(hospital: Workspace) -> None:
    keeper = GalleryKeeper(hospital.gallery_folder, new=True)
    matrix = np.eye(3, 8, dtype=np.float32)
    keeper.propose(1, Embeddings(("P-1", "P-2", "P-3"), matrix), dict.fromkeys(("P-1", "P-2", "P-3"), 0),
                   release=RELEASE, rows=64)  # fmt: skip
    done("silo", "consent", "withdraw", hospital.folder, "P-1")
    assert GalleryKeeper(hospital.gallery_folder).gallery(1).closed == {0}
    assert close_rows(hospital) is False


def test_counts_say_who_agrees_whose_consent_ends_and_who_left(hospital: Workspace) -> None:
    soon = datetime.date.today() + datetime.timedelta(days=30)
    done("silo", "consent", "set", hospital.folder, "P-1", "--purposes", "train", "--expires", soon)
    done("silo", "consent", "set", hospital.folder, "P-2", "--purposes", "match", "--expires", "2020-01-01")
    done("silo", "consent", "withdraw", hospital.folder, "P-3")
    said = done("silo", "consent", "show", hospital.folder)
    rows = {line.split()[1]: line.split("│")[2:-1] for line in said.splitlines() if line.startswith("│")}
    assert [cell.strip() for cell in rows["train"]] == ["1", "0", "1", "0", "1"]
    assert [cell.strip() for cell in rows["match"]] == ["0", "0", "0", "1", "1"]
    assert "1 patients withdrew from everything" in said
    assert "P-" not in said


def test_one_patient_is_shown_with_what_was_decided(hospital: Workspace) -> None:
    Participation(hospital.folder).took_part("run-7", ["P-1"])
    done("silo", "consent", "set", hospital.folder, "P-1", "--purposes", "match", "--alone")
    said = done("silo", "consent", "show", hospital.folder, "P-1")
    assert "P-1: match, may stand alone" in said
    assert "decided on site: at most match" in said
    assert "run run-7" in said
    assert audit(hospital)[-1].event == "consent.set"


def test_records_of_another_key_are_refused(hospital: Workspace) -> None:
    withdraw(hospital, "P-1", None, TODAY)
    (hospital.folder / "patients.key").unlink()
    with pytest.raises(AgentError, match="another key"):
        SiteConsents(hospital.folder)
    (hospital.folder / "patients.key").write_text("short")
    with pytest.raises(AgentError, match=r"patients\.key"):
        SiteConsents(hospital.folder)


def test_one_key_however_many_come_first(tmp_path: Path) -> None:
    begin, found = threading.Barrier(4), set()

    def first() -> None:
        begin.wait()
        found.add(PatientKey(tmp_path).token("P-1"))

    threads = [threading.Thread(target=first) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["patients.key"]


def test_taking_part_is_kept_by_hash_over_restarts_and_writers(tmp_path: Path) -> None:
    begin = threading.Barrier(4)

    def trained(number: int) -> None:
        record = Participation(tmp_path)
        begin.wait()
        for _ in range(5):
            record.took_part(f"run-{number % 2}", [f"P-{number}", "P-0"])

    threads = [threading.Thread(target=trained, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    record = Participation(tmp_path)
    assert record.of("P-0") == (Part("run-0"), Part("run-1"))
    assert [record.of(f"P-{number}") for number in (1, 2, 3)] == [
        (Part("run-1"),),
        (Part("run-0"),),
        (Part("run-1"),),
    ]
    content = (tmp_path / "participation.json").read_text()
    assert "P-" not in content
    assert json.loads(content)["version"] == 1
