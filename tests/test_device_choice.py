"""Which device a run takes: chosen by one key, missing ones told at once, and GPUs made to repeat themselves."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest
import torch

from common.config import parse
from common.errors import ConfigError, TrainingError
from common.learning.assembly import ModelPool
from common.models.device import CUBLAS, describe_device, find_device, repeatable
from simulations.engines.ray import RayEngine
from simulations.folder import RunFolder
from simulations.modes import Training
from simulations.running import run
from simulations.scenario import Scenario, load_scenario
from simulations.silos import RunSilos
from tests.second_device import GPU, pretended_gpu
from tests.test_bad_input import assert_one_line, phenofed

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


@pytest.fixture(autouse=True)
def _leave_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CUBLAS, ":16:8")


def with_ray(device: str, gpus: float) -> Scenario:
    overrides = ["federation.engine=ray", f"device={device}", f"federation.gpus_per_client={gpus}"]
    return load_scenario("smoke", overrides=overrides)


@no_gpu
def test_auto_takes_the_processor_where_torch_sees_no_gpu() -> None:
    assert find_device("auto") == find_device("cpu") == torch.device("cpu")


def test_auto_takes_the_first_gpu_that_torch_sees() -> None:
    with pretended_gpu():
        assert find_device("auto") == find_device("cuda") == find_device("cuda:0") == GPU
        assert find_device("cpu") == torch.device("cpu")
        assert describe_device(GPU) == "cuda:0 pretended"


def test_a_number_beyond_the_gpus_is_refused() -> None:
    with pretended_gpu(), pytest.raises(ConfigError, match="numbered 0 to 0") as caught:
        find_device("cuda:1")
    assert "auto" in caught.value.remedy


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:-1", "cuda:01", "cpu:0", "mps", "", "Cuda", "cuda:١"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="none of auto, cpu, cuda and cuda:N"):
        find_device(name)
    with pytest.raises(ConfigError, match="'device'"):
        parse(load_scenario("smoke").model_dump() | {"device": name}, Scenario, origin="here")


@no_gpu
@pytest.mark.parametrize("engine", ["inline", "ray"])
def test_a_missing_gpu_is_told_before_anything_is_rendered(tmp_path: Path, engine: str) -> None:
    overrides = ["device=cuda:2", f"federation.engine={engine}", "federation.gpus_per_client=0.5"]
    with pytest.raises(ConfigError, match="sees no GPU") as caught:
        run(load_scenario("smoke", overrides=overrides), tmp_path / "run")
    assert caught.value.exit_code == 3
    assert not RunFolder(tmp_path / "run").cohort.exists()


@no_gpu
def test_the_command_line_tells_a_missing_gpu_in_one_line(tmp_path: Path) -> None:
    result = phenofed("simulate", "smoke", "--set", "device=cuda", cwd=tmp_path)
    assert_one_line(result, 3, "device=cuda", "sees no GPU", "device=cpu or device=auto")


@pytest.mark.parametrize(("device", "gpus"), [("cpu", 0.5), ("cuda", 0), ("auto", 2)])
def test_ray_settings_that_contradict_each_other_are_refused(device: str, gpus: float) -> None:
    with pytest.raises(ConfigError, match="gpus_per_client"):
        with_ray(device, gpus)


@no_gpu
def test_ray_does_not_wait_for_gpus_that_are_not_there(tiny: Scenario, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    training = Training(tiny, folder, ("silo-1", "silo-2"), ModelPool())
    with pytest.raises(ConfigError, match="sees no GPU"):
        RayEngine(gpus_per_client=1)(training.coordination(), RunSilos(folder.path), on_round=_never)


@pytest.mark.parametrize(("gpus", "expected"), [(0.5, "cuda"), (0, "cpu")])
def test_a_rays_worker_uses_the_gpu_set_aside_for_it_and_none_otherwise(
    tmp_path: Path, gpus: float, expected: str
) -> None:
    scenario = with_ray("auto", gpus)
    training = Training(scenario, RunFolder(tmp_path), ("silo-1", "silo-2"), ModelPool())
    arrived = pickle.loads(pickle.dumps(training.opener))
    assert arrived == pickle.loads(pickle.dumps(training.opener))  # a worker knows its silos again by this
    assert hash(arrived) == hash(pickle.loads(pickle.dumps(training.opener)))
    with pretended_gpu():
        assert arrived.pool.device.type == expected


def test_on_a_gpu_the_repeatable_algorithms_are_asked_for_and_then_left_as_they_were() -> None:
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32
    cudnn.benchmark = True
    try:
        with repeatable(GPU):
            assert torch.are_deterministic_algorithms_enabled()
            assert (cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32) == (False, True, False)
        assert cudnn.benchmark
        assert not torch.are_deterministic_algorithms_enabled()
        with repeatable(torch.device("cpu")):
            assert cudnn.benchmark
            assert not torch.are_deterministic_algorithms_enabled()
    finally:
        cudnn.benchmark = before[0]
    assert (cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32) == before


def test_cublas_is_asked_to_repeat_itself_unless_somebody_said_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    with pretended_gpu():
        find_device("cuda")
        assert os.environ[CUBLAS] == ":16:8"
        monkeypatch.delenv(CUBLAS)
        find_device("cuda")
        assert os.environ[CUBLAS] == ":4096:8"


def test_a_gpu_whose_memory_does_not_suffice_is_told_as_such() -> None:
    with pytest.raises(TrainingError, match="memory of cuda:0") as caught, repeatable(GPU):
        raise torch.OutOfMemoryError("CUDA out of memory")
    assert not torch.are_deterministic_algorithms_enabled()
    assert "batch_size" in caught.value.remedy


def test_a_run_folder_from_before_the_key_runs_on_the_processor(tmp_path: Path) -> None:
    described = load_scenario("smoke").model_dump(mode="json")
    del described["device"]
    assert parse(json.loads(json.dumps(described)), Scenario, origin="here").device == "cpu"


def _never(*_: object) -> None:
    raise AssertionError("no round was to begin")
