"""``phenofed bench`` writes its figures, compares equal work alone, and tells what it does not know."""

from __future__ import annotations

import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from common.errors import ConfigError, RunError, TrainingError
from simulations.bench_cli import register
from simulations.benchmarks import BENCHMARKS, training
from simulations.benchmarks.bench import Bench
from simulations.scenario import load_scenario

TINY = (
    "cohort.spec.syndromes=3",
    "cohort.spec.patients=30",
    "cohort.spec.silos=2",
    "training.epochs=1",
    "training.cached_views=2",
    "threads=2",  # which the command overrides
)
SETTINGS = ["--scenario=smoke", "--repeat=1", *(f"--set={override}" for override in TINY)]


def call(*arguments: str):
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    return CliRunner().invoke(app, ["bench", *arguments])


def test_all_writes_every_figure_and_the_environment(tmp_path):
    file = tmp_path / "bench.json"
    done = call("all", *SETTINGS, "--json", str(file))
    assert done.exit_code == 0, done.output
    written = json.loads(file.read_text())
    assert set(written) == {"schema", "name", "figures", "environment"}
    assert (written["schema"], written["name"]) == (1, "all")
    figures = written["figures"]
    assert {benchmark.key for benchmark in BENCHMARKS.values()} | {"peak_rss_mb"} <= set(figures)
    assert all(isinstance(value, float) for value in figures.values())
    assert figures["largest_weight_difference"] == 0
    assert figures["import_refused"] == 0
    assert figures["import_images"] > 30
    assert figures["peak_rss_mb"] > 50
    assert written["environment"]["threads"] == 1
    assert written["environment"]["weights_sha256"]
    assert "bit-identical" in done.output


@pytest.mark.parametrize(
    "overrides",
    [
        ("training.rounds=2", "training.warmup_rounds=1", "training.trainable_fraction=0.3"),
        (
            "training.rounds=2",
            "training.warmup_rounds=0",
            "training.proximal=0.1",
            "training.anchor=0.5",
            "training.cached_views=0",
            "training.optimiser=sgd",
        ),
    ],
)
def test_the_plain_loop_ends_with_the_federated_weights(tmp_path, overrides):
    bench = Bench(load_scenario("smoke", overrides=[*TINY, *overrides, "threads=1"]), tmp_path)
    run = training.federated(bench, bench.scenario, 1)
    loop = training.plain(bench, bench.scenario, training.training_data(bench))
    initial = bench.pool.initial(bench.scenario.backbone, bench.scenario.training)
    assert any(not np.array_equal(value, initial[path]) for path, value in run.parameters.items())
    assert training.largest_difference(run, loop) == 0
    assert len(run.rounds) == len(loop.rounds) == 2


def test_unequal_work_is_not_compared(tmp_path):
    overrides = [*TINY, "cohort.spec.case_mix=site", "federation.patient_cap=1", "threads=1"]
    bench = Bench(load_scenario("smoke", overrides=overrides), tmp_path, repeat=1)
    with pytest.raises(TrainingError, match="not the same work"):
        training.measure(bench)


def test_an_unknown_name_is_told_with_those_that_exist():
    done = call("speed")
    assert isinstance(done.exception, ConfigError)
    assert done.exception.exit_code == 3
    assert "training" in str(done.exception)


def test_the_list_names_every_benchmark_and_its_figure():
    done = call("--list")
    assert done.exit_code == 0
    for name, benchmark in BENCHMARKS.items():
        assert name in done.output
        assert benchmark.key in done.output


def test_a_name_is_needed():
    assert call().exit_code == 2


def test_a_file_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    done = call("evaluation", *SETTINGS, "--json", str(tmp_path / "file" / "bench.json"))
    assert isinstance(done.exception, RunError)
