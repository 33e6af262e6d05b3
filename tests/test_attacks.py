"""The attacks of ``phenofed attack`` find what they should, and what the defences take from them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from common.cohort.splits import Setting
from common.errors import CohortError
from common.privacy.disclosure import SIMULATION, STRICT, Profile
from common.ranking.patients import unit
from simulations.attack_cli import register
from simulations.attacks import differencing, exposure, prior
from simulations.attacks.insider import Patients, Prior, cosines
from simulations.finished import open_run
from simulations.running import Run

LENGTH = 32


@pytest.fixture(scope="module")
def patients() -> Patients:
    """Twenty syndromes of twenty patients, whose embeddings differ along few axes more than along others."""
    generator = np.random.default_rng(5)
    syndromes = np.repeat(np.arange(20), 20)
    spread = np.linspace(2, 0.2, LENGTH)
    rows = generator.normal(size=(20, LENGTH))[syndromes] * 0.7 + generator.normal(size=(400, LENGTH)) * spread
    return Patients(unit(rows).astype(np.float64), np.array([f"S{index}" for index in syndromes]))


def test_each_question_tells_more_of_a_prototype(patients: Patients) -> None:
    lines = prior.measure(patients, seed=0, profiles=[SIMULATION], queries=(0, 8, 16, LENGTH))
    for known, size in {(line.known, line.patients) for line in lines}:
        found = [line.cosine for line in lines if (line.known, line.patients) == (known, size)]
        assert found == sorted(found)
        assert found[0] < 0.7
        assert found[-1] > 0.9999


def test_prior_knowledge_makes_few_questions_enough(patients: Patients) -> None:
    knows = Prior.from_known(patients.matrix[:200])
    victims = patients.matrix[200:]
    axes = knows.questions(8)
    informed = cosines(knows.recover(victims @ axes.T), victims).mean()
    naive = cosines(victims @ axes.T @ axes, victims).mean()
    blind = cosines(victims @ np.eye(LENGTH)[-8:].T @ np.eye(LENGTH)[-8:], victims).mean()
    assert informed >= naive > blind


def test_a_row_of_one_patient_is_that_patient_and_one_of_five_is_less(patients: Patients) -> None:
    lines = prior.measure(patients, seed=0, profiles=[SIMULATION], queries=(4, 16))
    single, five = (
        next(line for line in lines if (line.known, line.patients, line.queries) == (0.75, size, 16))
        for size in (1, 5)
    )
    assert single.confirmed == 1.0
    assert single.reidentified > 0.9
    assert five.confirmed < single.confirmed


def test_noise_lowers_what_is_recovered(patients: Patients) -> None:
    loud = Profile("loud", 32, patients=1, silos=1, noise=0.3, scaled_noise=True, alone=False)
    quiet, noisy = (
        next(line for line in prior.measure(patients, seed=0, profiles=[profile], queries=(32,)))
        for profile in (STRICT, loud)
    )
    assert quiet.spent
    assert noisy.spent
    assert noisy.cosine < quiet.cosine - 0.05
    assert noisy.confirmed < quiet.confirmed


def test_without_the_rule_two_epochs_give_away_who_joined_or_withdrew(patients: Patients) -> None:
    lines = differencing.measure(patients, seed=0, profiles=[SIMULATION])
    by_change = {line.change: line for line in lines if not line.rule}
    for change in ("one joins", "one withdraws"):
        assert by_change[change].answered == 1.0
        assert by_change[change].reidentified > 0.9


def test_the_gallery_rule_hides_who_joined_or_withdrew(patients: Patients) -> None:
    lines = differencing.measure(patients, seed=0, profiles=[SIMULATION])
    ruled = {line.change: line for line in lines if line.rule}
    assert ruled["one joins"].reidentified < 0.1
    assert (ruled["one withdraws"].answered, ruled["one withdraws"].cosine) == (0.0, None)
    assert ruled["one withdraws"].reidentified == 0.0
    free = {line.change: line for line in lines if not line.rule}
    # Three who change are a row of three: the rule lets them through, and says so.
    assert ruled["three join"] == pytest.approx(
        free["three join"].__class__(**{**vars(free["three join"]), "rule": True})
    )


def test_the_same_seed_gives_the_same_figures(patients: Patients) -> None:
    def both(seed: int) -> object:
        return prior.measure(patients, seed=seed, queries=(8,)), differencing.measure(patients, seed=seed)

    assert both(1) == both(1)
    assert both(1) != both(2)


def test_too_few_patients_of_a_syndrome_are_told() -> None:
    few = Patients(np.eye(4), np.array(["a", "b", "c", "d"]))
    with pytest.raises(CohortError, match="8 patients of one syndrome"):
        differencing.measure(few, seed=0)


def test_exposed_rows_are_counted_as_a_querier_meets_them(finished: Run) -> None:
    run = open_run(finished.folder)
    protocol, case = run.evaluation.protocol, run.evaluation.cases(Setting.F_BOTH)[0]
    held: dict[str, dict[str, set[str]]] = {}
    for photo in case.gallery_photos:
        silos = held.setdefault(protocol.label_of[photo], {})
        silos.setdefault(protocol.silo_of[photo], set()).add(protocol.patient_of[photo])
    queriers = {protocol.silo_of[photo] for photo in case.gallery_photos}
    expected = [0, 0, 0]
    for silos in held.values():
        if sum(map(len, silos.values())) < 3:
            continue
        for querier in queriers:
            others = [len(members) for silo, members in silos.items() if silo != querier]
            expected[0] += bool(others)
            expected[1] += len(others) == 1
            expected[2] += sum(others) == 1
    line = next(line for line in exposure.measure(run) if line.profile == "standard")
    assert [line.answered, line.one_silo, line.one_patient] == expected


def test_the_command_attacks_a_finished_run(finished: Run, tmp_path: Path) -> None:
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    file = tmp_path / "attacks.json"
    done = CliRunner().invoke(app, ["attack", str(finished.folder), f"--json={file}"])
    assert done.exit_code == 0, done.output
    assert "Assumed" in done.output
    figures = json.loads(file.read_text())["figures"]
    assert set(figures) == {"prior", "differencing", "exposure"}
    assert {line["profile"] for line in figures["prior"]} == {"strict", "standard"}
