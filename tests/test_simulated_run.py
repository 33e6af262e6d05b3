"""A whole run: the same bits twice, continuation after an interruption, and figures that can be recomputed."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from common.errors import RunError
from common.ranking.patients import restrict
from common.ranking.scores import SCORERS
from common.records import digest
from server import checkpoints
from simulations import accuracy
from simulations.encodings import read_all_encodings
from simulations.folder import RunFolder
from simulations.progress import Silent
from simulations.running import Run, resume, run
from simulations.scenario import Scenario

STAGES = ("federated", "centralised", "local-silo-1")


def models(folder: Path) -> dict[str, str]:
    found = {stage: checkpoints.read(RunFolder(folder).training(stage)) for stage in STAGES}
    return {stage: digest(checkpoint.parameters) for stage, checkpoint in found.items() if checkpoint}


def test_the_same_scenario_and_seed_give_the_same_bits(finished: Run, tmp_path: Path) -> None:
    again = run(finished.scenario, tmp_path / "again")
    assert models(again.folder) == models(finished.folder)
    clear = [row for row in finished.predictions if row.mode != "encrypted"]
    assert [row for row in again.predictions if row.mode != "encrypted"] == clear


def test_another_seed_gives_another_model(finished: Run, tmp_path: Path) -> None:
    scenario = finished.scenario.model_copy(update={"seed": 1, "modes": ("pretrained", "federated")})
    other = run(scenario.model_copy(update={"encryption": _off(scenario)}), tmp_path / "other")
    assert models(other.folder)["federated"] != models(finished.folder)["federated"]


def test_an_interrupted_run_goes_on_to_the_same_bits(finished: Run, tmp_path: Path) -> None:
    class Interrupted(Silent):
        """Ctrl-C at the second round of the second training."""

        def stage(self, name: str, total: int):  # type: ignore[no-untyped-def]
            if name == "training local: silo-1":
                raise KeyboardInterrupt
            return super().stage(name, total)

    folder = tmp_path / "halved"
    with pytest.raises(KeyboardInterrupt):
        run(finished.scenario, folder, progress=Interrupted())
    assert not (folder / "results.json").exists()
    with pytest.raises(RunError, match="not finished"):
        RunFolder(folder).read_results()
    with pytest.raises(RunError, match="holds a run already"):
        run(finished.scenario, folder)
    again = resume(folder)
    assert models(folder) == models(finished.folder)
    assert again.results["metrics"] == finished.results["metrics"]


def test_every_accuracy_follows_from_predictions_csv(finished: Run) -> None:
    """Recomputed here in plain Python, not with the code that wrote the results."""
    hits: dict[tuple[str, ...], dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    with (finished.folder / "predictions.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            key = (row["scorer"], row["mode"], row["setting"], row["split"])
            for k in (1, 5, 10, 30):
                hits[(*key, str(k))][row["label"]].append(int(row["rank"]) <= k)
    results = json.loads((finished.folder / "results.json").read_text())
    checked = 0
    for mode, settings in results["metrics"].items():
        for setting, figures in settings.items():
            for k in (1, 5, 10, 30):
                by_model: dict[str, list[float]] = defaultdict(list)
                for (scorer, model, where, _, top), labels in hits.items():
                    if (scorer, where, top) == (results["scorer"], setting, str(k)) and model.split("/")[
                        0
                    ] == mode:
                        by_model[model].append(float(np.mean([np.mean(values) for values in labels.values()])))
                expected = np.mean([np.mean(splits) for splits in by_model.values()])
                assert figures[f"top{k}"] == pytest.approx(expected, abs=1e-9)
                checked += 1
    assert checked == 4 * 4 * 4


def test_ranks_agree_with_the_listed_scores(finished: Run) -> None:
    listed = [row for row in finished.predictions if row.top and row.rank <= len(row.top)]
    assert listed
    for row in listed:
        assert row.top[row.rank - 1][0] == row.label
        scores = [score for _, score in row.top]
        assert scores == sorted(scores, reverse=True)


def test_no_patient_stands_on_both_sides(finished: Run) -> None:
    from common.cohort.store import load

    protocol = load(finished.folder / "cohort").protocol
    assert protocol is not None
    owner = protocol.patient_of
    trained = {owner[photo] for photo in protocol.train}
    assert not trained & {owner[photo] for photo in (*protocol.val, *protocol.frequent_test)}
    for split in protocol.rare:
        assert not {owner[photo] for photo in split.test} & {owner[photo] for photo in split.gallery}
        assert not trained & {owner[photo] for photo in split.test}


def test_encryption_changes_no_ranking(finished: Run) -> None:
    encrypted = finished.results["encrypted"]
    assert encrypted["queries"] == 4
    assert encrypted["max_abs_error"] < 1e-4
    assert encrypted["top10_agreement"] == 1.0
    assert encrypted["bytes_up"] > 0
    assert encrypted["bytes_down"] > 0


def test_exported_encodings_are_those_that_rank(finished: Run) -> None:
    read = read_all_encodings(finished.folder / "all_encodings.csv")
    kept = finished.encodings["federated"]
    assert read.photo_ids == kept.photo_ids
    assert read.models == ("m0", "m1")
    assert np.allclose(read.vectors, kept.vectors, atol=1e-7)
    assert np.allclose(np.linalg.norm(read.vectors, axis=-1), 1, atol=1e-5)
    lines = (finished.folder / "all_encodings.csv").read_text().splitlines()
    assert lines[0] == "img_name;model;flip;gray;class_conf;representations"
    assert lines[1].split(";")[0] == f"{kept.photo_ids[0]}_rot_aligned.jpg"


def test_encodings_are_read_by_their_columns_and_not_by_their_order(finished: Run, tmp_path: Path) -> None:
    lines = (finished.folder / "all_encodings.csv").read_text().splitlines()
    shuffled = tmp_path / "shuffled.csv"
    shuffled.write_text("\n".join([lines[0], *sorted(lines[1:], reverse=True)]) + "\n")
    read, whole = read_all_encodings(shuffled), read_all_encodings(finished.folder / "all_encodings.csv")
    assert np.array_equal(restrict(read, whole.photo_ids).vectors, whole.vectors)
    shuffled.write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(RunError, match="damaged"):
        read_all_encodings(shuffled)


def test_the_environment_names_what_the_figures_depend_on(finished: Run) -> None:
    environment = finished.results["environment"]
    for key in ("commit", "dirty", "lock_sha256", "cohort_sha256", "weights_sha256", "cpu", "threads", "blas"):
        assert key in environment
    assert len(environment["cohort_sha256"]) == len(environment["weights_sha256"]) == 64


def test_intervals_hold_their_figures(finished: Run) -> None:
    for mode, settings in finished.results["metrics"].items():
        for setting, figures in settings.items():
            for k in (1, 5, 10, 30):
                low, high = finished.results["intervals"][mode][setting][f"top{k}"]
                assert 0 <= low <= figures[f"top{k}"] + 0.15
                assert figures[f"top{k}"] - 0.15 <= high <= 1


def test_the_scorer_is_chosen_by_validation_patients_alone(finished: Run) -> None:
    validation = [row for row in finished.predictions if row.setting == "validation"]
    names = list(SCORERS)
    assert finished.results["scorer"] == accuracy.choose_scorer(validation, names)
    assert accuracy.choose_scorer([], names) == "encryptable"


def _off(scenario: Scenario) -> object:
    return scenario.encryption.model_copy(update={"enabled": False})
