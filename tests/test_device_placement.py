"""Whatever a run computes, it computes where the model lies, and gives arrays on the processor.

Most of it is held on a pretended GPU (see ``second_device``), whose work is the processor's to the bit wherever
torch takes the same kernels. A real GPU is asked where there is one.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from client.silo import Silo
from common.learning import inputs
from common.learning.assembly import ModelPool, read_shared
from common.learning.augment import augment as changed
from common.learning.plan import AugmentationPlan, TrainingPlan
from common.models import phenotype
from common.models.encoding import encode
from common.models.onnx_network import read_onnx
from common.models.phenotype import PhenotypeModel, as_tensor, embed
from common.models.sharing import make_trainable
from common.records import Parameters, TrainRequest, Update, digest
from simulations.benchmarks import training
from simulations.benchmarks.bench import Bench
from simulations.clinic import rank_photos
from simulations.encodings import encode_all
from simulations.folder import RunFolder
from simulations.modes import Trained
from simulations.pretrain import pretrain
from simulations.progress import Silent
from simulations.running import Run, run
from simulations.scenario import Scenario, load_scenario
from tests.conftest import TINY
from tests.second_device import GPU, OnGpu, pretended_gpu
from tests.test_learning_trainer import PLAN, new_data, new_model, train
from tests.test_pretrain_backbone import TINY as PEOPLE

CPU = torch.device("cpu")
# Left out where bits are compared: torch scales tensors of a subclass by other kernels than its own.
SAME_BITS = AugmentationPlan(shrink=0)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def trained(model: PhenotypeModel, plan: TrainingPlan, rounds: int = 3) -> tuple[Parameters, list[float]]:
    reports, state = train(model, plan, rounds)
    assert all(type(value) is Tensor and value.device == CPU for value in state.tensors().values())
    return read_shared(model), [report.loss for report in reports]


def with_plan(**changes: object) -> TrainingPlan:
    return TrainingPlan.model_validate(PLAN.model_dump() | {"augmentation": SAME_BITS} | changes)


@pytest.mark.parametrize(
    ("fraction", "plan"),
    [
        (0.0, with_plan(cached_views=3)),
        (0.5, with_plan(anchor=0.3, proximal=0.1)),
        (0.5, with_plan(cached_views=0, optimiser="sgd")),
        (1.0, with_plan(anchor=0.3)),
    ],
    ids=["head alone", "cached views", "live views", "whole backbone"],
)
def test_training_on_another_device_gives_the_same_bits(fraction: float, plan: TrainingPlan) -> None:
    expected = trained(new_model(fraction), plan)
    model = new_model(fraction)
    with pretended_gpu() as ran:
        found = trained(model.to(GPU), plan)
    assert digest(found[0]) == digest(expected[0])
    assert found[1] == expected[1]
    assert {"convolution", "searchsorted", "nll_loss_forward"} <= ran
    assert ("convolution_backward" in ran) == (fraction > 0)


def test_every_augmentation_happens_where_the_crops_lie() -> None:
    plan = AugmentationPlan(flip=0.5, grey=0.5, shrink=0.5, jitter=0.3)
    crops = as_tensor(new_data().crops[:8])
    expected = changed(crops, plan, np.random.default_rng(1))
    with pretended_gpu() as ran:
        found = changed(crops.to(GPU), plan, np.random.default_rng(1))
        assert isinstance(found, OnGpu)
        torch.testing.assert_close(found.cpu(), expected)
    assert "_upsample_bilinear2d_aa" in ran


def test_encodings_come_back_as_arrays_of_the_processor() -> None:
    crops, model = new_data().crops[:10], new_model(0.5)
    names = [str(number) for number in range(10)]
    expected = encode(model, names, crops, batch=4)
    with pretended_gpu():
        found = encode(model.to(GPU), names, crops, batch=4)
    assert found.vectors.dtype == np.float32
    np.testing.assert_array_equal(found.vectors, expected.vectors)


def test_an_onnx_network_trains_on_another_device() -> None:
    pytest.importorskip("onnx")
    from tests.test_models_onnx import model as onnx_file

    def network() -> PhenotypeModel:
        backbone, dim = read_onnx(onnx_file().SerializeToString(), origin="face.onnx")
        backbone.embedding_dim = dim
        model = PhenotypeModel(backbone)
        make_trainable(model, 0.5)
        return model.eval()

    plan, other = with_plan(), network()
    expected = trained(network(), plan)
    with pretended_gpu():
        found = trained(other.to(GPU), plan)
    assert digest(found[0]) == digest(expected[0])


def test_a_hospital_goes_on_alike_whichever_device_it_kept_its_state_from(finished: Run, tmp_path: Path) -> None:
    """State kept from one device is read on the other, and its files are the same to the byte."""
    scenario = finished.scenario
    plan = scenario.training.model_copy(update={"augmentation": SAME_BITS, "anchor": 0.2})
    folders = {}
    for device in ("cpu", "cuda"):
        folders[device] = tmp_path / device
        shutil.copytree(finished.folder / "silos" / "silo-1" / "cohort", folders[device] / "cohort")

    def answer(folder: Path, device: str, number: int) -> str:
        pool = ModelPool(device)
        request = TrainRequest(
            "run-1",
            number,
            0,
            scenario.backbone.model_dump(mode="json"),
            plan.model_dump(mode="json"),
            pool.initial(scenario.backbone, plan),
        )
        update = Silo("silo-1", folder, pool=pool).train(request)
        assert isinstance(update, Update)
        assert all(delta.dtype == np.float32 for delta in update.delta.values())
        return digest(update.delta)

    expected = [answer(folders["cpu"], "cpu", number) for number in (1, 2, 3)]
    with pretended_gpu():
        found = [answer(folders["cuda"], "cuda", number) for number in (1, 2)]
    assert [*found, answer(folders["cuda"], "cpu", 3)] == expected
    for file in (folders["cpu"] / "training" / "run-1").iterdir():
        assert (folders["cuda"] / "training" / "run-1" / file.name).read_bytes() == file.read_bytes()
        assert set(load_file(file)) == {"rows", "labels", "anchors", "data"}


def test_a_whole_run_on_another_device_ends_alike(finished: Run, tmp_path: Path) -> None:
    """All modes, encodings and rankings, by the key of the scenario alone."""
    off = finished.scenario.encryption.model_copy(update={"enabled": False})
    scenario = finished.scenario.model_copy(update={"device": "auto", "encryption": off})
    with pretended_gpu() as ran:
        other = run(scenario, tmp_path / "run")
    assert {"convolution", "native_batch_norm", "_log_softmax_backward_data"} <= ran
    assert other.results["environment"]["device"] == "cuda:0 pretended"
    assert finished.results["environment"]["device"] == "cpu"
    assert set(other.encodings) == set(finished.encodings)
    for model, encodings in finished.encodings.items():
        np.testing.assert_allclose(other.encodings[model].vectors, encodings.vectors, atol=1e-5)


def test_a_runs_encodings_are_computed_there_through_a_network_in_two_parts(finished: Run, tmp_path: Path) -> None:
    half = finished.scenario.training.model_copy(update={"trainable_fraction": 0.5})
    scenario = finished.scenario.model_copy(update={"training": half})
    photos = finished.cohort.photo_ids[:6]

    def encoded(device: str) -> NDArray[np.float32]:
        pool, folder = ModelPool(device), RunFolder(tmp_path / device)
        untouched = Trained("pretrained", "pretrained", pool.initial(scenario.backbone, half))
        found = encode_all(scenario, folder, finished.cohort, photos, [untouched], pool, Silent())
        return found["pretrained"].vectors

    expected = encoded("cpu")
    with pretended_gpu():
        np.testing.assert_array_equal(encoded("cuda"), expected)


def test_a_clinic_without_a_gpu_ranks_by_a_run_that_had_one(finished: Run, tmp_path: Path) -> None:
    from PIL import Image

    shutil.copytree(finished.folder, tmp_path / "run")
    described = tmp_path / "run" / "scenario.yaml"
    assert "device: cpu\n" in described.read_text()
    described.write_text(described.read_text().replace("device: cpu\n", "device: cuda:3\n"))
    photo = tmp_path / "photo.png"
    Image.fromarray(finished.cohort.crops[0]).save(photo)
    here, there = (rank_photos([photo], folder, aligned=True) for folder in (finished.folder, tmp_path / "run"))
    assert there == here


def test_pretraining_on_another_device_gives_the_same_weights() -> None:
    expected = pretrain(PEOPLE, 3)
    with pretended_gpu() as ran:
        found = pretrain(PEOPLE.model_copy(update={"device": "cuda"}), 3)
    assert "native_batch_norm_backward" in ran
    assert found.losses == pytest.approx(expected.losses, abs=1e-5)
    for name, value in expected.state.items():
        assert type(found.state[name]) is Tensor
        torch.testing.assert_close(found.state[name], value, atol=2e-3, rtol=2e-3)


def test_the_training_benchmark_compares_on_another_device(tmp_path: Path) -> None:
    overrides = [*TINY, "device=cuda", "training.rounds=1", "training.warmup_rounds=0", "training.anchor=0.2"]
    bench = Bench(load_scenario("smoke", overrides=overrides), tmp_path)
    with pretended_gpu():
        found = training.federated(bench, bench.scenario, 1)
        plain = training.plain(bench, bench.scenario, training.training_data(bench))
    assert training.largest_difference(found, plain) == 0


def _stay(crops: NDArray[np.uint8], device: torch.device = CPU) -> Tensor:
    return as_tensor(crops)


def test_a_batch_that_is_left_behind_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """What all of the above rests on: a forgotten move is an error and not a slow success."""
    model = new_model(0.5)
    for module in (inputs, phenotype):
        monkeypatch.setattr(module, "as_tensor", _stay)
    with pretended_gpu():
        model.to(GPU)
        for work in (
            lambda: train(model, with_plan(cached_views=0), 1),
            lambda: embed(model, new_data().crops[:3]),
        ):
            with pytest.raises(RuntimeError, match="mixes cuda:0 and cpu"):
                work()


def test_the_pretended_gpu_refuses_what_a_gpu_refuses() -> None:
    here = torch.ones(3)
    with pretended_gpu():
        there = here.to(GPU)
        for refused in (
            lambda: there + here,
            lambda: torch.cat([there, here]),
            lambda: here[there.long()],
            lambda: here.add_(there),
            lambda: there.numpy(),
            lambda: torch.nn.Linear(3, 1)(there),
            lambda: torch.where(here > 0, there, there),
            lambda: torch.rand(3, device=GPU, generator=torch.Generator()),
        ):
            with pytest.raises((RuntimeError, TypeError)):
                refused()
        for allowed in (there + torch.tensor(2.0), there + 2, here.copy_(there + 2), (there + 2).cpu()):
            assert allowed.cpu().tolist() == [3.0, 3.0, 3.0]
        assert there[torch.tensor([0, 1])].cpu().tolist() == [1.0, 1.0]


@needs_gpu
@pytest.mark.parametrize("fraction", [0.0, 0.5, 1.0])
def test_a_real_gpu_trains_as_the_processor_does_and_repeats_itself(fraction: float) -> None:
    plan = with_plan(augmentation=AugmentationPlan(), anchor=0.3)
    expected = trained(new_model(fraction), plan)
    device = ModelPool("cuda").device
    found, again = (trained(new_model(fraction).to(device), plan) for _ in range(2))
    assert digest(found[0]) == digest(again[0])
    assert found[1] == again[1] == pytest.approx(expected[1], abs=1e-3)
    for path, value in expected[0].items():
        np.testing.assert_allclose(found[0][path], value, atol=5e-3)


@needs_gpu
def test_a_whole_run_on_a_real_gpu_repeats_itself_and_is_near_the_processors(
    finished: Run, tiny: Scenario, tmp_path: Path
) -> None:
    scenario = tiny.model_copy(
        update={"device": "cuda", "encryption": tiny.encryption.model_copy(update={"enabled": False})}
    )
    one, other = (run(scenario, tmp_path / name) for name in ("one", "other"))
    for model, encodings in finished.encodings.items():
        np.testing.assert_array_equal(one.encodings[model].vectors, other.encodings[model].vectors)
        np.testing.assert_allclose(one.encodings[model].vectors, encodings.vectors, atol=1e-2)
