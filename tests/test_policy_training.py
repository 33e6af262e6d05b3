"""Floors of a hospital at its training desk: hours, counts, uses, models, and a policy that changes meanwhile."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from client.audit.entry import Entry, read_entry
from client.audit.files import lines, log_files
from client.audit.opening import log_folder
from client.workspace.adoption import adopt
from common.records import Question, Refusal, SiloDescription, Update, norm
from server.checkpoints import Checkpoint
from simulations.engines.inline import run_inline
from simulations.weights import THIN
from tests.agents import set_policy
from tests.consortium_folder import done, refusal
from tests.release_files import signed as signed_release
from tests.release_files import write_files, write_model
from tests.training_desks import Trial, approved_trainers, training_desks
from tests.training_hospitals import NAMES, draft, sign_plan, workspace

A = NAMES[0]
THIN_SPEC = {"architecture": "thin", "path": str(THIN)}
NIGHT = {"zone": "Europe/Berlin", "train": "20:00-06:00"}
SILENT: Callable[[Checkpoint], None] = lambda checkpoint: None  # noqa: E731


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rounds = {"rounds": 3, "warmup_rounds": 1, "trainable_fraction": 0, "batch_size": 4}
    return approved_trainers(tmp_path_factory.mktemp("trainers") / "made", training=rounds, quorum=3)


@pytest.fixture
def trial(made: Path, tmp_path: Path) -> Iterator[Trial]:
    with training_desks(made, tmp_path / "c") as trial:
        yield trial


def allow(trial: Trial, name: str = A, **changes: Any) -> None:
    set_policy(trial.folder / name, allow={"train": True}, **changes)


def _model(sha256: str) -> dict[str, Any]:
    return {"release": "release", "backbone": {**THIN_SPEC, "sha256": sha256}}


def audit(trial: Trial, name: str = A) -> list[Entry]:
    files = log_files(log_folder(workspace(trial.folder, name)))
    return [read_entry(line) for _, path in files for line, _ in lines(path)]


def asked(trial: Trial, run: Any, name: str = A, **changes: Any) -> Update | Refusal:
    return trial.silo(name).train(trial.request(run, **changes))


def test_a_run_goes_on_without_a_silo_outside_its_hours_which_comes_back_by_itself(trial: Trial) -> None:
    run = trial.begun()
    allow(trial, hours=NIGHT)

    def evening(checkpoint: Checkpoint) -> None:
        if checkpoint.round == 2:
            trial.now = datetime.datetime(2026, 6, 1, 18, 0, tzinfo=datetime.UTC)

    history = run_inline(run.coordination(), trial.silo, on_round=evening).history
    reason = (
        "refused by the hospital: clinic-a trains from 20:00 to 06:00 Europe/Berlin, next on 2026-06-01 at 20:00"
    )
    assert [summary.excluded for summary in history] == [{A: reason}, {A: reason}, {}]
    assert [set(summary.losses) for summary in history] == [set(NAMES[1:])] * 2 + [set(NAMES)]
    refused = [entry for entry in audit(trial) if entry.event == "training.refused"]
    assert [(entry.reason, entry.facts["round"]) for entry in refused] == [
        ("outside the hours of the policy", "1"),
        ("outside the hours of the policy", "2"),
    ]


def test_a_policy_that_changes_during_a_run_counts_from_the_next_round_on(trial: Trial) -> None:
    run = trial.begun()

    def change(checkpoint: Checkpoint) -> None:
        if checkpoint.round == 1:
            set_policy(trial.folder / A, allow={"train": False})
            (trial.folder / NAMES[1] / "policy.yaml").write_text("allow: {trian: true}\n")
        else:
            allow(trial)
            allow(trial, NAMES[1])

    history = run_inline(run.coordination(), trial.silo, on_round=change).history
    assert [sorted(summary.excluded) for summary in history] == [[], [A, NAMES[1]], []]
    assert history[1].excluded[A] == "refused by the hospital: this hospital's policy takes no part in training"
    assert history[1].excluded[NAMES[1]].endswith(": the policy of clinic-b cannot be used at the moment")
    assert "the policy cannot be used" in [entry.reason for entry in audit(trial, NAMES[1])]


FLOORS = (
    ({"least_silos": 4}, "count with 3 hospitals, and at least 4"),
    ({"most_rounds": 1}, "it has 3 rounds, and at most 1"),
    ({"uses": ["research"]}, "its use is methods, and allowed is research"),
)


def test_a_plan_below_a_floor_is_not_trained_and_not_approved(trial: Trial) -> None:
    run = trial.begun()
    assert isinstance(asked(trial, run), Update)
    for floors, reason in (*FLOORS, ({"least_patients": 9}, "trains on at least 9 patients")):
        allow(trial, training=floors)
        answer = asked(trial, run)
        assert isinstance(answer, Refusal)
        assert reason in answer.reason
        assert audit(trial)[-1].reason == "a floor of the policy"
    clinic, signed = trial.folder / A, sign_plan(trial.folder, run="second", quorum=3, training={"rounds": 3})
    for floors, reason in FLOORS:
        set_policy(clinic, allow={"train": True}, approvals={"train": "automatic"}, training=floors)
        assert reason in str(refusal("silo", "plans", "add", clinic, signed)), "by policy"
        assert reason in str(refusal("silo", "plans", "approve", clinic, "second")), "by hand"


def test_a_plan_that_meets_every_floor_is_trained(trial: Trial) -> None:
    floors = {
        "least_silos": 3,
        "most_rounds": 3,
        "uses": ["research", "methods"],
        "least_patients": 8,
        "most_runs_a_year": 1,
    }
    for name in NAMES:
        allow(trial, name, training=floors, hours={"zone": "UTC", "train": "12:00-12:01"})
    run = trial.begun()
    for name in NAMES:
        assert isinstance(asked(trial, run, name), Update)


def test_runs_of_a_year_are_counted_over_a_rolling_year(trial: Trial) -> None:
    allow(trial, training={"most_runs_a_year": 2})
    two = {"go_on_with_at_least": 2}
    runs = [trial.begun(), *(trial.begin(*NAMES[:2], run=name, **two) for name in ("two", "three"))]
    for month, run in zip((1, 3), runs, strict=False):
        trial.today = datetime.date(2026, month, 10)
        assert isinstance(asked(trial, run), Update)
    answer = asked(trial, runs[2])
    assert isinstance(answer, Refusal)
    assert "at most 2 runs a year, the next on 2027-01-10" in answer.reason
    assert isinstance(asked(trial, runs[1]), Update), "a run that began goes on"
    trial.today = datetime.date(2027, 1, 10)
    assert isinstance(asked(trial, runs[2]), Update)


def test_updates_are_clipped_to_the_smaller_bound_and_the_audit_says_so(trial: Trial) -> None:
    run = trial.begun()
    whole = asked(trial, run)
    assert isinstance(whole, Update)
    length = norm(whole.delta)
    assert audit(trial)[-1].facts | {"norm": "", "clipped": "no"} == audit(trial)[-1].facts | {"norm": ""}
    allow(trial, training={"max_update_norm": length / 3})
    first, again = asked(trial, run), asked(trial, run)
    assert isinstance(first, Update)
    assert isinstance(again, Update)
    assert first.statement == again.statement
    assert length / 3 * 0.999999 < norm(first.delta) <= length / 3
    facts = audit(trial)[-1].facts
    assert facts["clipped"] == "yes"
    assert float(facts["norm"]) == pytest.approx(length / 3, rel=1e-3)
    allow(trial, training={"max_update_norm": length * 2})
    loose = asked(trial, run)
    assert isinstance(loose, Update)
    assert loose.statement == whole.statement, "below the bound not a bit changes"


def test_a_plans_bound_is_kept_by_the_silo_so_that_the_gate_takes_its_update(trial: Trial) -> None:
    run = trial.begin(*NAMES[:2], run="bounded", go_on_with_at_least=2, max_update_norm=1e-3)
    history = run_inline(run.coordination(), trial.silo, on_round=SILENT).history
    assert [summary.excluded for summary in history] == [{}, {}]
    assert all(summary.update_norm <= 1e-3 for summary in history)


def test_a_cap_lowers_the_weight_that_is_stated_and_nothing_else(trial: Trial) -> None:
    run = trial.begun()
    whole = asked(trial, run)
    allow(trial, training={"patient_cap": 3})
    capped = asked(trial, run)
    assert isinstance(whole, Update)
    assert isinstance(capped, Update)
    assert (whole.patients, capped.patients, capped.photos) == (8, 3, whole.photos)
    assert all(np.array_equal(whole.delta[path], capped.delta[path]) for path in whole.delta)
    described = trial.silo(A).describe(Question(run.plan.run, run.plan.digest))
    assert isinstance(described, SiloDescription)
    assert described.patients == 3
    facts = audit(trial)[-2].facts
    assert (facts["patients"], facts["stated"]) == (8, 3)


def test_hashes_that_a_policy_lists_are_the_only_ones_it_trains_on(trial: Trial) -> None:
    run = trial.begun()
    allow(trial, models={"sha256": [str(run.plan.model.sha256)]}, model=_model(str(run.plan.model.sha256)))
    assert isinstance(asked(trial, run), Update)
    allow(trial, models={"sha256": ["2" * 64]}, model=_model("2" * 64))
    answer = asked(trial, run)
    assert isinstance(answer, Refusal)
    assert "does not name the backbone" in answer.reason
    assert audit(trial)[-1].reason == "a model that the policy does not name"


def test_a_run_begins_only_from_a_release_that_somebody_trusted_signed(trial: Trial, tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw().hex()
    model = write_model(tmp_path / "bare")
    unnamed = {"release": "release", "backbone": THIN_SPEC}
    folder = write_files(signed_release(model, key), tmp_path / "signed")
    for name in NAMES[:2]:
        allow(trial, name, models={"signers": ["1" * 64, public]}, model=unnamed)
        adopt(workspace(trial.folder, name), folder)
    trial.parent = tmp_path / "bare"
    about = {"parent": model.name, "parent_digest": model.digest, "go_on_with_at_least": 2}
    run = trial.begin(*NAMES[:2], run="child", **about)
    assert isinstance(asked(trial, run), Update)
    moved = {path: value + np.float32(1e-3) for path, value in run.coordination().initial.items()}
    answer = asked(trial, run, parameters={path: np.asarray(v, np.float32) for path, v in moved.items()})
    assert isinstance(answer, Refusal)
    assert "does not begin from release" in answer.reason
    allow(trial, models={"signers": ["consortium"]}, model=unnamed)  # whose roster names no such key
    answer = asked(trial, run)
    assert isinstance(answer, Refusal)
    assert "no trusted signature" in answer.reason


def test_a_plan_without_a_stated_purpose_is_not_signed_and_hospitals_read_it_before_they_approve(
    trial: Trial,
) -> None:
    path = trial.folder / "silent.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in draft().items() if k not in ("use", "aim")}))
    error = refusal("consortium", "plan", trial.folder / "operator", path)
    assert "does not state use and aim" in str(error)
    stated = {"use": "research", "aim": "Rarer syndromes."}
    done("silo", "plans", "add", trial.folder / A, sign_plan(trial.folder, run="stated", **stated))
    for shown in (
        done("silo", "plans", "show", trial.folder / A, "stated"),
        done("silo", "plans", "approve", trial.folder / A, "stated"),
    ):
        assert "for research: Rarer syndromes." in shown
        assert "one refusal stops it" in shown
        assert "this hospital's policy allows it" in shown
    users = {entry.event: entry.who for entry in audit(trial)}
    assert users["plan.add"] == users["plan.approve"]
    assert users["plan.approve"].startswith("user ")
