"""``phenofed silo audit``, and the lines that an agent and the hospital's commands leave."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from client.audit.files import log_files
from client.audit.opening import open_log
from client.patients.participation import Part, Participation
from client.patients.released import note_release
from client.workspace.workspace import Workspace
from common.releases.manifest import Origin
from common.releases.release import Release
from tests.agents import Hospitals, found_hospitals, hospitals, photo
from tests.consortium_folder import done, refusal
from tests.hospital_workspace import audit, bring, workspace
from tests.release_files import NOON, write_model
from tests.training_hospitals import NAMES, RUN, found_trainers, plan_in, sign_plan

PERSON = f"user {pwd.getpwuid(os.getuid()).pw_name}"
CLINICS = ("clinic-a", "clinic-b", "clinic-c", "clinic-d")


def noted(said: str) -> str:
    """What verify says to note elsewhere, which may be folded at the terminal's edge."""
    return said.partition("note: ")[2].replace("\n", "")


@pytest.fixture
def hospital(tmp_path: Path) -> Workspace:
    made = workspace(tmp_path)
    bring(made, ("1.png", "P-1", "OMIM:122470", "match"))
    open_log(made, sealing=True).record("epoch", "user ines")
    return made


def test_a_log_is_verified_shown_and_exported(hospital: Workspace, tmp_path: Path) -> None:
    said = done("silo", "audit", "verify", hospital.folder)
    assert "2 lines in 1 files, sealed to line 2 by clinic-a" in said
    done("silo", "audit", "verify", hospital.folder, "--noted", noted(said))
    shown = done("silo", "audit", "show", hospital.folder)
    assert "import" in shown
    assert "added 1" in shown
    assert "import" not in done("silo", "audit", "show", hospital.folder, "--who", "ines")
    assert done("silo", "audit", "show", hospital.folder, "--json", "--event", "import").count("\n") == 1
    done("silo", "audit", "export", hospital.folder, "--out", tmp_path / "copy")
    assert noted(done("silo", "audit", "verify", tmp_path / "copy")) == noted(said)
    assert "is not empty" in str(refusal("silo", "audit", "export", hospital.folder, "--out", tmp_path / "copy"))


def test_a_log_that_does_not_hold_is_one_line_and_a_code(hospital: Workspace) -> None:
    path = log_files(hospital.folder / "audit")[0][1]
    path.write_bytes(path.read_bytes().replace(b"ines", b"olga"))
    error = refusal("silo", "audit", "verify", hospital.folder)
    assert error.exit_code == 12
    assert "line 2 was changed after it was sealed" in str(error)
    assert "no NUMBER:DIGEST" in str(refusal("silo", "audit", "verify", hospital.folder, "--noted", "2:x"))


def test_whoever_refuses_or_approves_a_run_is_named(hospital: Workspace) -> None:
    refusal("silo", "plans", "approve", hospital.folder, "no-such-run")
    line = audit(hospital)[-1]
    assert (line.event, line.who, line.outcome) == ("plan.approve", PERSON, "refused")


def with_origin(release: Release, **known: str) -> Release:
    """A release that says where it comes from."""
    origin = Origin(name="trial", number=1, created=NOON, software="0.1.0", protocol=1, **known)
    return replace(release, manifest=release.manifest.model_copy(update={"origin": origin}))


@pytest.fixture
def consortium(tmp_path: Path) -> Iterator[Hospitals]:
    with hospitals(found_hospitals(tmp_path, CLINICS), start=CLINICS) as running:
        yield running


def test_a_running_hospital_writes_down_who_asked_and_closes_rows_at_once(consortium: Hospitals) -> None:
    folder = consortium.folder
    number = consortium.open_epoch("clinic-a")
    consortium.rank("clinic-a", photo(3), reference="Jane-Roe-17")
    said = done("silo", "consent", "withdraw", folder / "clinic-b", "clinic-b-1")
    assert "the agent has looked at consents" in said
    gallery = consortium.agents["clinic-b"].keeper.gallery(number)
    assert gallery.closed == {0}
    asked, answered = (audit(Workspace(folder / name)) for name in ("clinic-a", "clinic-b"))
    assert [line.event for line in asked if line.who == PERSON][-2:] == ["epoch", "rank"]
    assert {line.facts["topic"] for line in answered if line.who == "member clinic-a"} >= {"epoch.open", "query"}
    assert [line.event for line in answered if line.who == PERSON][-2:] == ["look", "withdraw"]
    assert {line.facts["member"] for line in asked if line.event == "member.accept"} <= set(CLINICS)
    for name in CLINICS:
        content = b"".join(path.read_bytes() for _, path in log_files(folder / name / "audit"))
        assert b"Roe" not in content
        assert b"clinic-b-1" not in content
        done("silo", "audit", "verify", folder / name)


def test_an_adopted_release_is_known_by_the_run_that_made_it(tmp_path: Path) -> None:
    folder = found_trainers(tmp_path, NAMES[:2])
    signed = sign_plan(folder, silos=list(NAMES[:2]))
    clinic = Workspace(folder / NAMES[0])
    done("silo", "plans", "add", clinic.folder, signed)
    Participation(clinic.folder).took_part(RUN, ["P-1"])
    release = write_model(tmp_path / "model")
    note_release(clinic, with_origin(release, plan=plan_in(folder, signed).digest))
    later = write_model(tmp_path / "later", rounds=2)
    note_release(clinic, with_origin(later, parent=release.name))
    assert Participation(clinic.folder).of("P-1") == (Part(RUN, (release.name, later.name)),)
