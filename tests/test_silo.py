"""A hospital's side of a round: consent decides what trains, and one bad round is not the end."""

from __future__ import annotations

import datetime
import shutil
import stat
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from client.patients.participation import Participation
from client.silo import Silo
from common.cohort import store
from common.cohort.schema import Consent, Purpose
from common.errors import PhenofedError
from common.learning import inputs
from common.learning.assembly import ModelPool
from common.records import Refusal, TrainRequest, Update, digest
from simulations import synthetic
from simulations.scenario import Scenario

TODAY = datetime.date(2026, 6, 1)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    made = synthetic.make(synthetic.SyntheticSpec(syndromes=3, patients=40, rare_share=0), 0)
    store.save(tmp_path / "silo" / "cohort", made.cohort, made.crops)
    return tmp_path / "silo"


@pytest.fixture(scope="module")
def pool() -> ModelPool:
    return ModelPool()


def request_for(scenario: Scenario, pool: ModelPool, round: int, **changes: np.ndarray) -> TrainRequest:
    initial = dict(pool.initial(scenario.backbone, scenario.training)) | changes
    plan, model = scenario.training.model_dump(mode="json"), scenario.backbone.model_dump(mode="json")
    return TrainRequest("run-1", round, 0, model, plan, initial)


def opened(workspace: Path, pool: ModelPool) -> Silo:
    return Silo("silo-1", workspace, pool=pool, today=lambda: TODAY)


def with_consent(workspace: Path, consent: Consent, share: float = 1.0) -> None:
    stored = store.load(workspace / "cohort")
    count = int(share * len(stored.cohort.patients))
    patients = tuple(
        patient.model_copy(update={"consent": consent}) if index < count else patient
        for index, patient in enumerate(stored.cohort.patients)
    )
    crops = {photo: stored.crop(photo) for photo in stored.photo_ids}
    changed = stored.cohort.model_copy(update={"patients": patients})
    store.save(workspace / "cohort", changed, crops, replace=True)


def test_an_update_is_the_difference_that_training_made(workspace: Path, pool: ModelPool, tiny: Scenario) -> None:
    silo = opened(workspace, pool)
    update = silo.train(request_for(tiny, pool, 1))
    assert isinstance(update, Update)
    assert update.patients == silo.describe().patients
    assert any(np.abs(delta).max() > 0 for delta in update.delta.values())
    assert all(delta.dtype == np.float32 for delta in update.delta.values())


@pytest.mark.parametrize(
    "consent",
    [
        Consent(purposes=frozenset({Purpose.MATCH, Purpose.DISPLAY})),
        Consent(purposes=frozenset(Purpose), expires=TODAY - datetime.timedelta(days=1)),
        Consent(),
    ],
)
def test_without_consent_to_train_nothing_is_trained_on(
    workspace: Path, pool: ModelPool, tiny: Scenario, consent: Consent
) -> None:
    with_consent(workspace, consent)
    silo = opened(workspace, pool)
    assert silo.describe().patients == 0
    answer = silo.train(request_for(tiny, pool, 1))
    assert isinstance(answer, Refusal)
    assert "no photo" in answer.reason


def test_consent_that_ends_today_still_holds(workspace: Path, pool: ModelPool) -> None:
    with_consent(workspace, Consent(purposes=frozenset({Purpose.TRAIN}), expires=TODAY))
    assert opened(workspace, pool).describe().patients == 40


def test_a_refused_round_is_passed_over_and_the_next_goes_on(
    workspace: Path, pool: ModelPool, tiny: Scenario
) -> None:
    silo = opened(workspace, pool)
    assert isinstance(silo.train(request_for(tiny, pool, 1)), Update)
    spoilt = {path: np.full_like(value, np.nan) for path, value in request_for(tiny, pool, 2).parameters.items()}
    refusal = silo.train(request_for(tiny, pool, 2, **spoilt))
    assert isinstance(refusal, Refusal)
    assert "nan" in refusal.reason.lower()
    again = silo.train(request_for(tiny, pool, 3))
    assert isinstance(again, Update)
    assert all(np.isfinite(delta).all() for delta in again.delta.values())


def test_a_silo_that_was_restarted_goes_on_to_the_same_bits(
    workspace: Path, pool: ModelPool, tiny: Scenario
) -> None:
    silo = opened(workspace, pool)
    silo.train(request_for(tiny, pool, 1))
    second = silo.train(request_for(tiny, pool, 2))
    restarted = opened(workspace, ModelPool()).train(request_for(tiny, pool, 2))
    assert isinstance(second, Update)
    assert isinstance(restarted, Update)
    assert digest(second.delta) == digest(restarted.delta)


def test_a_round_that_is_trained_again_gives_the_same_bits_and_runs_the_frozen_part_no_second_time(
    workspace: Path, pool: ModelPool, tiny: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = tiny.training.model_copy(update={"cached_views": 2, "trainable_fraction": 0.0})
    cached = tiny.model_copy(update={"training": plan})
    asked: list[object] = []
    views = inputs._views
    monkeypatch.setattr(inputs, "_views", lambda *given: asked.append(given) or views(*given))
    silo = opened(workspace, pool)
    silo.train(request_for(cached, pool, 1))
    first, second = (silo.train(request_for(cached, pool, 2)) for _ in range(2))
    assert isinstance(first, Update)
    assert isinstance(second, Update)
    assert digest(first.delta) == digest(second.delta)
    assert len(asked) == 1


def test_class_rows_stay_in_the_workspace_for_its_owner_alone(
    workspace: Path, pool: ModelPool, tiny: Scenario
) -> None:
    silo = opened(workspace, pool)
    for number in (1, 2, 3, 4):
        update = silo.train(request_for(tiny, pool, number))
        assert isinstance(update, Update)
        syndromes = silo.describe().syndromes
        assert not any(delta.shape[:1] == (syndromes,) for delta in update.delta.values())
    files = sorted((workspace / "training" / "run-1").iterdir())
    assert [file.stem for file in files] == ["round-00003", "round-00004"]
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
    assert "rows" in load_file(files[-1])


@pytest.mark.parametrize("run", ["../escape", "a/b", "", ".hidden", "a b"])
def test_a_run_cannot_name_a_path(workspace: Path, pool: ModelPool, tiny: Scenario, run: str) -> None:
    good = request_for(tiny, pool, 1)
    request = TrainRequest(run, 1, 0, good.model, good.plan, good.parameters)
    assert isinstance(opened(workspace, pool).train(request), Refusal)
    assert not (workspace.parent / "escape").exists()


def test_what_does_not_fit_the_model_is_refused(workspace: Path, pool: ModelPool, tiny: Scenario) -> None:
    good = request_for(tiny, pool, 1)
    for parameters in ({}, {**good.parameters, "more": np.zeros(1, np.float32)}):
        request = TrainRequest("run-1", 1, 0, good.model, good.plan, parameters)
        answer = opened(workspace, pool).train(request)
        assert isinstance(answer, Refusal)
        assert "do not fit" in answer.reason
    request = TrainRequest("run-1", 1, 0, {"architecture": "none"}, good.plan, good.parameters)
    assert isinstance(opened(workspace, pool).train(request), Refusal)


def test_who_withdraws_between_two_rounds_is_in_no_later_one(
    workspace: Path, pool: ModelPool, tiny: Scenario
) -> None:
    silo = opened(workspace, pool)
    first = silo.train(request_for(tiny, pool, 1))
    patients = store.load(workspace / "cohort").cohort.patients
    with_consent(workspace, Consent(purposes=frozenset({Purpose.MATCH})), share=1 / 40)
    second = silo.train(request_for(tiny, pool, 2))
    assert isinstance(first, Update)
    assert isinstance(second, Update)
    assert (first.patients, second.patients, silo.describe().patients) == (40, 39, 39)
    record = Participation(workspace)
    assert [part.run for part in record.of(patients[0].id)] == ["run-1"]
    # Rows, anchors and cached views of the one who left are not gone on from: a new silo comes to the same bits.
    shutil.rmtree(workspace / "training")
    anew = opened(workspace, ModelPool()).train(request_for(tiny, pool, 2))
    assert isinstance(anew, Update)
    assert digest(anew.delta) == digest(second.delta)


def test_who_takes_part_is_written_down_before_the_update_leaves(
    workspace: Path, pool: ModelPool, tiny: Scenario
) -> None:
    (workspace / "participation.json").mkdir()
    with pytest.raises(PhenofedError):
        opened(workspace, pool).train(request_for(tiny, pool, 1))
