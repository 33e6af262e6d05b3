"""Face networks that come as ONNX, turned into trainable torch modules by onnx2torch.

Wanted: one float32 input (n, 3, 112, 112), one output (n, d), everything inside the one file. A batch axis that
the export fixed is freed again; where that fails, crops go through one at a time.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, fx, nn

from common.errors import WeightsError
from common.models import vision
from common.models.backbone import CROP_SHAPE
from common.models.state import check_finite

PROBES = 3


def read_onnx(content: bytes, *, origin: str) -> tuple[nn.Module, int]:
    """The network in an ONNX file, in evaluation mode, and its embedding's length, found by a probe.

    Convolutions, linear layers, batch norms and PReLU slopes become ordinary torch modules with parameters;
    constants of other operators stay constants.

    Raises:
        WeightsError: no ONNX, other inputs or outputs than wanted, an operator that is not known, weights that
            are not finite or lie in other files.
    """
    import onnx

    try:
        model = onnx.load_model_from_string(content)
        batch = _check_interface(model, origin)
        for tensor in model.graph.initializer:
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                raise WeightsError(f"{origin} keeps weights in other files", remedy="export it as a single file")
    except WeightsError:
        raise
    except Exception as error:  # protobuf's decode errors have no common public base
        raise WeightsError(f"{origin} is no ONNX model", remedy="name the right file") from error

    network = _convert(_with_free_batch(model, batch), origin)
    try:
        return network, _probe(network, origin)
    except WeightsError:
        if batch != 1:
            raise
    network = CropByCrop(_convert(model, origin))
    return network, _probe(network, origin)


class CropByCrop(nn.Module):
    """Runs a network whose batch axis is one, crop after crop: slow, and right."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """``(n, 3, 112, 112)`` to ``(n, d)``."""
        return torch.cat([self.network(image) for image in torch.split(images, 1)])


def _check_interface(model: Any, origin: str) -> int | None:
    """The fixed batch size, or None where it is free."""
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    problems = []
    if len(inputs) != 1 or len(model.graph.output) != 1:
        problems.append(f"{len(inputs)} inputs and {len(model.graph.output)} outputs instead of one each")
    kind = inputs[0].type.tensor_type if inputs else None
    dims = [dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim] if kind else []
    if kind and kind.elem_type != 1:
        problems.append("an input that is not float32")
    fits = len(dims) == 4 and all(dim in (None, want) for dim, want in zip(dims[1:], CROP_SHAPE, strict=True))
    if kind and not fits:
        shown = ", ".join("n" if dim is None else str(dim) for dim in dims)
        problems.append(f"input ({shown}) instead of (n, 3, 112, 112)")
    if problems:
        raise WeightsError(
            f"{origin} has {'; '.join(problems)}", remedy="export a face network for 112x112 crops, NCHW"
        )
    # Exporters write an unknown batch as a name, as nothing, or as zero or minus one.
    return dims[0] if dims[0] is not None and dims[0] > 0 else None


def _with_free_batch(model: Any, batch: int | None) -> Any:
    """A copy whose batch axis is free: also in the reshapes where the export wrote the batch size down."""
    if batch is None:
        return model
    from onnx import helper, numpy_helper

    free = type(model)()
    free.CopyFrom(model)
    graph = free.graph
    for value in (*graph.input, *graph.output):
        dims = value.type.tensor_type.shape.dim
        if len(dims) > 1 and dims[0].dim_value == batch:
            dims[0].dim_param = "n"
    del graph.value_info[:]  # inferred for the fixed batch
    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer if tensor.data_type == 7}
    for node in graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value" and attribute.t.data_type == 7:
                    shapes[node.output[0]] = numpy_helper.to_array(attribute.t)
    for number, node in enumerate(graph.node):
        if node.op_type != "Reshape" or node.input[1] not in shapes:
            continue
        shape = [int(size) for size in shapes[node.input[1]]]
        if len(shape) > 1 and shape[0] == batch:
            name = f"free_batch_shape_{number}"
            # In ONNX a zero copies the input's size.
            graph.initializer.append(helper.make_tensor(name, 7, [len(shape)], [0, *shape[1:]]))
            node.input[1] = name
    return free


def _convert(model: Any, origin: str) -> nn.Module:
    vision.mend()
    import onnx2torch

    try:
        # Building torch layers draws from the global generator before the file's weights replace them.
        with torch.random.fork_rng(devices=[]):
            network = onnx2torch.convert(model)
            _own_weights(network)
    except Exception as error:  # onnx2torch raises NotImplementedError, KeyError, RuntimeError, ...
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"{origin} cannot be turned into a torch network ({reason[:160]})",
            remedy="export it with plain convolution, linear and normalisation operators, opset 9 to 18",
        ) from error
    check_finite(network.named_parameters(), origin=origin)
    return network.eval()


def _own_weights(network: fx.GraphModule) -> None:
    """Turn PReLU slopes and matrices that the graph passes as constants into modules with parameters."""
    from onnx2torch.node_converters.activations import OnnxPReLU
    from onnx2torch.node_converters.matmul import OnnxMatMul

    for node in network.graph.nodes:
        if node.op != "call_module" or len(node.args) != 2 or getattr(node.args[1], "op", "") != "get_attr":
            continue
        module, constant = network.get_submodule(node.target), network.get_buffer(node.args[1].target)
        owner: nn.Module
        if isinstance(module, OnnxPReLU) and constant.numel() == math.prod(constant.shape[:1]):
            owner = nn.PReLU(constant.numel())
            weight = constant.reshape(-1)
        elif isinstance(module, OnnxMatMul) and constant.dim() == 2:
            owner = nn.Linear(constant.shape[0], constant.shape[1], bias=False)
            weight = constant.T.contiguous()
        else:
            continue
        owner.weight = nn.Parameter(weight.clone())
        network.set_submodule(node.target, owner)
        node.args = (node.args[0],)
    network.graph.eliminate_dead_code()
    network.recompile()


def _probe(network: nn.Module, origin: str) -> int:
    """The embedding's length, after checking that each crop gets the row it would get alone."""
    # Waves of another length, strength and level for each crop, so that mixed rows differ.
    number = torch.arange(1.0, PROBES + 1)[:, None]
    waves = torch.sin(torch.arange(math.prod(CROP_SHAPE)) * 0.07 * number) * number / PROBES + number - 2
    images = waves.view(PROBES, *CROP_SHAPE)
    try:
        with torch.no_grad():
            rows = network(images)
            alone = [network(image) for image in torch.split(images, 1)] if isinstance(rows, Tensor) else []
    except Exception as error:  # whatever the graph does wrong
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"{origin} does not run on (n, 3, 112, 112) ({reason[:160]})",
            remedy="export it with a free batch axis",
        ) from error
    if not isinstance(rows, Tensor) or rows.dim() != 2 or len(rows) != PROBES or rows.shape[1] < 1:
        shown = tuple(rows.shape) if isinstance(rows, Tensor) else f"{len(rows)} tensors"
        raise WeightsError(
            f"{origin} gives {shown} for {PROBES} crops instead of ({PROBES}, d)",
            remedy="export the network up to its embedding, with a free batch axis",
        )
    check_finite([("its output", rows)], origin=origin)
    if not torch.allclose(rows, torch.cat(alone), rtol=1e-3, atol=1e-3 * float(rows.abs().max())):
        raise WeightsError(f"{origin} mixes the crops of a batch", remedy="export it in evaluation mode")
    return int(rows.shape[1])
