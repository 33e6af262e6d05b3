"""Any ONNX face network of the right shape becomes a trainable backbone that computes what the file computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from common.errors import WeightsError
from common.models.folding import fold_batch_norm
from common.models.loading import load_backbone
from common.models.onnx_network import CropByCrop, read_onnx
from common.models.specs import BackboneSpec
from common.storage import sha256_bytes

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

DIM = 6


def model(batch="n", *, nodes=(), tail="matmul", shape=(3, 112, 112), outputs=("y",), output=None, spoil=0.0):
    """Convolution, batch norm, PReLU, pooling, a reshape that spells the batch out, and a last matrix."""
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.normal(size=(8, 3, 7, 7)) * 0.1,
        "scale": rng.uniform(0.5, 1.5, 8),
        "shift": rng.normal(size=8),
        "mean": rng.normal(size=8),
        "var": rng.uniform(0.5, 2, 8),
        "slope": rng.uniform(0.1, 0.4, (8, 1, 1)),
        "m": rng.normal(size=(8, DIM)) + spoil,
        "b": rng.normal(size=DIM),
    }
    initializers = [numpy_helper.from_array(v.astype(np.float32), k) for k, v in constants.items()]
    rows = batch if isinstance(batch, int) else -1
    initializers.append(numpy_helper.from_array(np.array([rows, 8], np.int64), "rows"))
    last = {
        "matmul": [helper.make_node("MatMul", ["r", "m"], ["p"]), helper.make_node("Add", ["p", "b"], ["y"])],
        "gemm": [helper.make_node("Gemm", ["r", "m", "b"], ["y"])],
    }[tail]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["c"], strides=[8, 8]),
            helper.make_node("BatchNormalization", ["c", "scale", "shift", "mean", "var"], ["n1"]),
            helper.make_node("PRelu", ["n1", "slope"], ["a"]),
            helper.make_node("GlobalAveragePool", ["a"], ["g"]),
            helper.make_node("Reshape", ["g", "rows"], ["r"]),
            *last,
            *nodes,
        ],
        "face",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, *shape])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, output or [batch, DIM]) for name in outputs],
        initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def images(count: int = 3) -> torch.Tensor:
    return torch.randn(count, 3, 112, 112, generator=torch.Generator().manual_seed(2))


def reference(file, batch: torch.Tensor) -> np.ndarray:
    session = onnxruntime.InferenceSession(file.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": batch.numpy()})[0]


@pytest.mark.parametrize("tail", ["matmul", "gemm"])
@pytest.mark.parametrize("batch", ["n", 1, 4], ids=["free batch", "batch of one", "batch of four"])
def test_features_equal_those_of_the_file_for_any_batch(batch, tail):
    network, dim = read_onnx(model(batch, tail=tail).SerializeToString(), origin="face.onnx")
    assert dim == DIM
    with torch.no_grad():
        found = network(images()).numpy()
    np.testing.assert_allclose(found, reference(model("n", tail=tail), images()), atol=1e-5)


def test_a_batch_of_one_that_cannot_be_freed_runs_crop_by_crop():
    # Subtracting the mean over the batch changes with its size, and gives zero for one crop alone.
    nodes = [
        helper.make_node("ReduceMean", ["y"], ["centre"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["y", "centre"], ["d"]),
        helper.make_node("Add", ["d", "y"], ["z"]),
    ]
    network, dim = read_onnx(model(1, nodes=nodes, outputs=("z",)).SerializeToString(), origin="face.onnx")
    assert isinstance(network, CropByCrop)
    assert dim == DIM
    with torch.no_grad():
        np.testing.assert_allclose(network(images()).numpy(), reference(model("n"), images()), atol=1e-5)


def test_parameters_live_in_modules_of_the_usual_types_and_in_graph_order():
    network, _ = read_onnx(model().SerializeToString(), origin="face.onnx")
    owners = [m for m in network.modules() if next(m.parameters(recurse=False), None) is not None]
    assert [type(m) for m in owners] == [nn.Conv2d, nn.BatchNorm2d, nn.PReLU, nn.Linear]
    network(images()).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in network.parameters())


def test_batch_norm_of_an_onnx_network_folds():
    network, _ = read_onnx(model().SerializeToString(), origin="face.onnx")
    with torch.no_grad():
        before = network(images())
        fold_batch_norm(network).train()
        assert torch.allclose(network(images()), before, atol=1e-5)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in network.modules())


def test_a_spec_with_hash_and_normalisation_loads_an_onnx_file(tmp_path):
    content = model(1).SerializeToString()
    path = tmp_path / "face.onnx"
    path.write_bytes(content)
    spec = BackboneSpec(architecture="onnx", path=path, sha256=sha256_bytes(content), normalisation="imagenet")
    before = torch.random.get_rng_state()
    backbone = load_backbone(spec)
    assert torch.equal(before, torch.random.get_rng_state())
    assert backbone.embedding_dim == DIM
    crops = torch.randint(0, 256, (2, 3, 112, 112), generator=torch.Generator().manual_seed(4)).byte()
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normal = (crops.float() / 255 - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    with torch.no_grad():
        np.testing.assert_allclose(backbone(crops).numpy(), reference(model(), normal), atol=1e-4)
    with pytest.raises(WeightsError, match=f"length {DIM}"):
        load_backbone(spec.model_copy(update={"embedding_dim": 512}))


def external() -> bytes:
    file = model()
    tensor = file.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return file.SerializeToString()


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"not a model", "no ONNX model"),
        (b"", "0 inputs"),
        (external(), "other files"),
        (model(shape=(112, 112, 3)).SerializeToString(), r"input \(n, 112, 112, 3\) instead"),
        (model(shape=(3, 160, 160)).SerializeToString(), "160"),
        (model(outputs=("y", "r")).SerializeToString(), "2 outputs"),
        (model(outputs=("a",), output=["n", 8, 14, 14]).SerializeToString(), r"gives \(3, 8, 14, 14\)"),
        (model(spoil=float("nan")).SerializeToString(), "NaN"),
        (
            model(nodes=[helper.make_node("Hardmax", ["y"], ["z"])], outputs=("z",)).SerializeToString(),
            "Hardmax",
        ),
        (
            model(
                nodes=[helper.make_node("ReduceMean", ["y"], ["z"], axes=[0], keepdims=0)],
                outputs=("z",),
                output=[DIM],
            ).SerializeToString(),
            "instead of",
        ),
    ],
    ids=[
        "text",
        "empty",
        "weights elsewhere",
        "channels last",
        "other size",
        "two outputs",
        "a feature map",
        "NaN",
        "unknown operator",
        "one vector for all",
    ],
)
def test_other_networks_are_refused_with_the_reason(content, part):
    with pytest.raises(WeightsError, match=part) as caught:
        read_onnx(content, origin="face.onnx")
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


def test_a_network_that_mixes_crops_is_refused():
    nodes = [
        helper.make_node("ReduceMean", ["y"], ["centre"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["y", "centre"], ["z"]),
    ]
    with pytest.raises(WeightsError, match="mixes the crops"):
        read_onnx(model(nodes=nodes, outputs=("z",)).SerializeToString(), origin="face.onnx")
