"""Simulated hospitals rank under encryption as the formula does, under the floors that deployed ones have."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from common.cohort.splits import Setting
from common.consortium.counts import Totals
from common.encryption.sanitise import Noise
from common.errors import ConfigError, RunError
from common.privacy.disclosure import SIMULATION, STANDARD, STRICT
from common.ranking.patients import unit
from common.ranking.scores import SCORERS, Gallery
from simulations.consortium import Consortium
from simulations.encrypted import rank_encrypted
from simulations.evaluation import Case
from simulations.finished import open_run
from simulations.progress import Silent
from simulations.questions import Asked, ask_all, chosen_cases
from simulations.rerank_cli import register
from simulations.running import Run
from simulations.scenario import Encryption, load_scenario


def gallery(
    generator: np.random.Generator, *, syndromes: int = 6, patients: int = 48, length: int = 16
) -> Gallery:
    names = tuple(f"S{index}" for index in range(syndromes))
    rows = unit(generator.normal(size=(patients, length))).astype(np.float32)
    labels, silos = np.arange(patients) % syndromes, np.arange(patients) // syndromes % 4
    return Gallery(names, ("a", "b", "c", "d"), rows, labels, rows, labels, silos)


def asked(scores: np.ndarray, totals: list[int], silos: list[int]) -> Asked:
    names, none = tuple(f"S{index}" for index in range(len(totals))), np.zeros(len(totals), dtype=np.int64)
    probes = (("photo",),) * len(scores)
    known = Totals(np.array(totals), np.array(silos), none, none)
    return Asked(Setting.RR, Case(0, probes, ()), probes, names, known, scores, scores)


def test_every_test_patient_of_a_run_is_ranked_as_by_the_formula(finished: Run, tmp_path: Path) -> None:
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    file = tmp_path / "rerank.json"
    arguments = [str(finished.folder), "--kernel=linear", "--profile=simulation", "--profile=strict"]
    done = CliRunner().invoke(app, ["rerank", *arguments, f"--json={file}"])
    assert done.exit_code == 0, done.output
    lines = json.loads(file.read_text())["rows"]
    whole = [line for line in lines if line["profile"] == "simulation"]
    assert [line["setting"] for line in whole] == [setting.value for setting in Setting]
    known = finished.results["scorers"]["encryptable"]["federated"]
    cases = {setting.value: open_run(finished.folder).evaluation.cases(setting) for setting in Setting}
    for line in whole:
        assert line["rankings"] == sum(len(case.probes) for case in cases[line["setting"]])
        assert line["encrypted"] == line["clear"]
        assert line["clear"]["top1"] == pytest.approx(known[line["setting"]]["top1"])
        assert (line["moved"], line["withheld"]) == (0, 0)
        assert line["difference"] < 1e-4
    strict = [line for line in lines if line["profile"] == "strict"]
    assert all(line["answerable"] <= line["syndromes"] for line in strict)
    assert sum(line["withheld"] for line in strict) > 0


def test_galleries_in_one_stack_keep_their_own_scores() -> None:
    generator = np.random.default_rng(1)
    galleries = {"one": gallery(generator), "other": gallery(generator, syndromes=4)}
    galleries["again"] = galleries["one"]
    queries = unit(generator.normal(size=(5, 16))).astype(np.float32)
    consortium = Consortium(galleries)
    rows = consortium.in_clear(queries)
    assert rows.shape == (5, 10)
    for name, held in galleries.items():
        assert np.allclose(consortium.scores(name, rows), SCORERS["encryptable"](queries, held), atol=1e-6)
        assert consortium.totals_of(name).patients.tolist() == np.bincount(held.patient_labels).tolist()
        assert set(consortium.totals_of(name).silos.tolist()) == {4}


@pytest.mark.parametrize("kernel", ["linear", "quadratic"])
def test_a_querier_gets_the_score_of_all_silos(kernel: str) -> None:
    generator = np.random.default_rng(2)
    consortium = Consortium({"one": gallery(generator)}, kernel=kernel)  # type: ignore[arg-type]
    queries = unit(generator.normal(size=(4, 16))).astype(np.float32)
    scores, cost = consortium.ask("a", queries, noise=Noise(0.0))
    assert np.abs(scores - consortium.in_clear(queries)).max() < 2e-6
    assert cost.queries == 4


def test_noise_of_an_answer_is_as_large_as_deployed() -> None:
    generator = np.random.default_rng(3)
    consortium = Consortium({"one": gallery(generator, syndromes=16, patients=64)})
    queries = unit(generator.normal(size=(32, 16))).astype(np.float32)
    scores, _ = consortium.ask("a", queries, noise=Noise(1e-3, scaled=True))
    deviation = np.std(scores - consortium.in_clear(queries))
    assert 0.8 < deviation / (1e-3 * np.sqrt(3)) < 1.2


def test_floors_take_syndromes_out_of_the_answer() -> None:
    part = asked(np.array([[0.1, 0.9, 0.5, 0.3]]), totals=[5, 4, 2, 9], silos=[2, 3, 2, 1])
    assert part.under(SIMULATION).answered() == {"S0", "S1", "S2", "S3"}
    assert part.under(STANDARD).answered() == {"S0", "S1", "S3"}
    assert part.under(STRICT).answered() == {"S0"}
    assert np.isnan(part.under(STRICT).secret).tolist() == [[False, True, True, True]]


def test_a_withheld_syndrome_is_never_found(finished: Run) -> None:
    evaluation = open_run(finished.folder).evaluation
    probe = evaluation.cases(Setting.FF)[0].probes[0]
    scores = np.array([[0.9, 0.8]], dtype=np.float32)
    none = np.zeros(2, dtype=np.int64)
    part = Asked(
        Setting.FF,
        Case(0, (probe,), ()),
        (probe,),
        (evaluation.label(probe), "other"),
        Totals(np.array([2, 9]), np.array([1, 3]), none, none),
        scores,
        scores,
    )
    (found,) = part.under(SIMULATION).predictions(evaluation, mode="encrypted")
    assert found.rank == 1
    (withheld,) = part.under(STANDARD).predictions(evaluation, mode="encrypted")
    assert withheld.rank == withheld.classes + 1 == 3
    assert [key for key, _ in withheld.top] == ["other"]


def test_queries_are_asked_once_and_counted_against_the_budget(finished: Run) -> None:
    run = open_run(finished.folder)
    settings = Encryption(settings=tuple(Setting), splits=None, queries=None, profile="strict")
    encrypted = rank_encrypted(settings, run.evaluation, run.encodings, Silent())
    probes = {probe for setting in Setting for case in run.evaluation.cases(setting) for probe in case.probes}
    by_silo = [run.evaluation.silo(probe) for probe in probes]
    figures = encrypted.figures()
    assert figures["queries"] == len(probes)
    assert figures["most_asked"] == max(by_silo.count(silo) for silo in by_silo)
    assert figures["budget"] == 32
    assert figures["answerable"]["R/R"]["answerable"] < figures["answerable"]["R/R"]["syndromes"]
    assert any("profile strict answers" in note for note in encrypted.notes)
    assert len(encrypted.predictions) == sum(
        len(case.probes) for setting in Setting for case in run.evaluation.cases(setting)
    )


def test_splits_and_queries_limit_what_is_asked(finished: Run) -> None:
    evaluation = open_run(finished.folder).evaluation
    cases = chosen_cases(evaluation, [Setting.RR], splits=2, queries=3)
    assert len(cases) == 2
    assert all(len(case.probes) <= 3 for _, case in cases)
    assert chosen_cases(evaluation, [Setting.RR], splits=None, queries=None) == [
        (Setting.RR, case) for case in evaluation.cases(Setting.RR)
    ]


def test_a_hospital_with_too_few_others_does_not_ask(finished: Run) -> None:
    run = open_run(finished.folder)
    cases = chosen_cases(run.evaluation, [Setting.FF], splits=1, queries=2)
    answers = ask_all(
        cases, run.evaluation, run.encodings, kernel="linear", noise=Noise(), smallest=4, progress=Silent()
    )
    assert (answers.asked, answers.queries, answers.most_asked) == ((), 0, 0)
    assert all("too few other hospitals" in note for note in answers.notes)
    assert answers.notes


def test_noise_stays_on_outside_the_profile_simulation() -> None:
    with pytest.raises(ConfigError, match="noise=false needs profile=simulation"):
        load_scenario("smoke", overrides=["encryption.noise=false"])
    assert not load_scenario(
        "smoke", overrides=["encryption.noise=false", "encryption.profile=simulation"]
    ).encryption.noise


def test_a_run_without_the_model_is_refused(finished: Run, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no model 'other'"):
        open_run(finished.folder, model="other")
    with pytest.raises(RunError, match="holds no run"):
        open_run(tmp_path)
