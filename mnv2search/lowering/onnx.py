"""ONNX graphs written straight from the plan, without a framework or tracing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from mnv2search.errors import OptionError
from mnv2search.lowering.arbitrary import arbitrary_arrays
from mnv2search.lowering.fold import folded
from mnv2search.lowering.types import LayerArrays, NetworkArrays
from mnv2search.spec.plan import GROUP_NORM_GROUPS, Layer, Plan, Unit

__all__ = ["INPUT", "OPSET", "OUTPUT", "onnx_bytes"]

INPUT = "image"
OUTPUT = "output"
OPSET = 17
IR_VERSION = 8
# Tags of length-delimited fields: ModelProto.graph is 7, GraphProto.initializer 5, TensorProto.raw_data 9.
# Source: onnx/onnx.proto.
GRAPH, INITIALIZER, RAW_DATA = (bytes([field << 3 | 2]) for field in (7, 5, 9))
# Source: the default of torch.nn.GroupNorm.
GROUP_NORM_EPS = 1e-5


def onnx_bytes(
    plan: Plan,
    weights: NetworkArrays | None = None,
    *,
    seed: int = 0,
    fold: bool = True,
    batch: int | None = 1,
) -> bytes:
    """The network as a serialised ONNX model that maps `image` (N, 3, S, S) to `output`.

    Args:
        plan: the network.
        weights: its arrays by (unit, layer); None takes arbitrary ones.
        seed: of the arbitrary ones.
        fold: fold batch norm into the convolutions, as a deployed network has it.
        batch: images per inference; None leaves it open.

    Raises:
        OptionError: `weights` lack a layer of the plan.
    """
    graph = _Graph(eps=plan.spec.batch_norm.eps)
    tensor = INPUT
    place = 0
    for unit_index, unit in enumerate(plan.units):
        arrays: list[LayerArrays] = []
        for layer_index, layer in enumerate(unit.layers):
            if weights is None:
                found = arbitrary_arrays(layer, seed=seed, place=place, fold=fold)
            elif (unit_index, layer_index) in weights:
                found = weights[unit_index, layer_index]
            else:
                raise OptionError(f"the weights lack {plan.at[unit_index]}, layer {layer_index} ({layer.role})")
            arrays.append(folded(found, eps=graph.eps) if fold else found)
            place += 1
        graph.prefix = f"layer_{unit_index + 1}" if unit.kind != "classifier" else "classifier"
        tensor = _unit(graph, unit, arrays, tensor)
    _finish(graph.model, plan, batch)
    return _serialised(graph)


class _Graph:
    """Nodes and initializers in the making."""

    def __init__(self, *, eps: float) -> None:
        self.eps = eps
        self.model = ModelProto(ir_version=IR_VERSION, producer_name="mnv2search")
        self.initializers: list[tuple[bytes, NDArray[Any]]] = []
        self.prefix = ""
        self._count = 0

    def node(self, kind: str, inputs: Sequence[str], **attributes: int | float | list[int]) -> str:
        """The name of the output of a new node."""
        self._count += 1
        name = f"{self.prefix}/{kind}_{self._count}"
        node = self.model.graph.node.add(op_type=kind, name=name, input=inputs, output=[name])
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        return name

    def split(self, tensor: str, sizes: Sequence[int]) -> list[str]:
        """The names of the parts of a tensor cut along its channels."""
        name = self.node("Split", [tensor, self.array(np.array(sizes, np.int64))], axis=1)
        names = [f"{name}.{i}" for i in range(len(sizes))]
        self.model.graph.node[-1].output[:] = names
        return names

    def array(self, values: NDArray[np.float32] | NDArray[np.int64]) -> str:
        """The name of a new initializer."""
        self._count += 1
        name = f"{self.prefix}/array_{self._count}"
        kind = TensorProto.INT64 if values.dtype == np.int64 else TensorProto.FLOAT
        header = TensorProto(name=name, data_type=kind, dims=values.shape).SerializeToString()
        self.initializers.append((header, np.ascontiguousarray(values)))
        return name


def _unit(graph: _Graph, unit: Unit, arrays: Sequence[LayerArrays], tensor: str) -> str:
    if unit.kind == "classifier":
        return _classifier(graph, arrays[0], tensor)
    entry = gated = tensor
    for layer, of_layer in zip(unit.layers, arrays, strict=True):
        if layer.role == "squeeze":
            gated = tensor
            tensor = graph.node("GlobalAveragePool", [tensor])
        tensor = _convolution(graph, layer, of_layer, tensor)
        tensor = _normalized(graph, layer, of_layer, tensor)
        tensor = _activated(graph, layer.activation, tensor)
        if layer.role == "excite":
            tensor = graph.node("Mul", [gated, tensor])
    if unit.shortcut == "none":
        return tensor
    return graph.node("Add", [_shortcut(graph, unit, entry), tensor])


def _shortcut(graph: _Graph, unit: Unit, tensor: str) -> str:
    """The unit's input, average-pooled and zero-padded in channels where the shapes ask for it."""
    if unit.stride > 1:
        window = [unit.stride, unit.stride]
        tensor = graph.node("AveragePool", [tensor], kernel_shape=window, strides=window, ceil_mode=1)
    if missing := unit.c_out - unit.c_in:
        pads = graph.array(np.array([0, 0, 0, 0, 0, missing, 0, 0], np.int64))
        tensor = graph.node("Pad", [tensor, pads])
    return tensor


def _classifier(graph: _Graph, arrays: LayerArrays, tensor: str) -> str:
    """A 1x1 convolution of the pooled map, as slim has it; ONNX Runtime 1.32 runs it faster than a Gemm."""
    pooled = graph.node("GlobalAveragePool", [tensor])
    weight = arrays.weight[0]
    bias = [] if arrays.bias is None else [graph.array(arrays.bias)]
    logits = graph.node(
        "Conv", [pooled, graph.array(weight.reshape(*weight.shape, 1, 1)), *bias], kernel_shape=[1, 1]
    )
    return graph.node("Flatten", [logits])


def _convolution(graph: _Graph, layer: Layer, arrays: LayerArrays, tensor: str) -> str:
    weights, groups = arrays.weight, layer.groups
    if len(set(layer.parts)) == 1:
        weights, groups = (np.concatenate(weights),), len(layer.parts)
    if len(weights) == 1:
        return _one_convolution(graph, layer, weights[0], arrays.bias, groups, tensor)
    parts = graph.split(tensor, [inputs for inputs, _ in layer.parts])
    ends = np.cumsum([outputs for _, outputs in layer.parts])[:-1]
    biases = [None] * len(weights) if arrays.bias is None else np.split(arrays.bias, ends)
    done = [
        _one_convolution(graph, layer, weight, bias, 1, part)
        for weight, bias, part in zip(weights, biases, parts, strict=True)
    ]
    return graph.node("Concat", done, axis=1)


def _one_convolution(
    graph: _Graph,
    layer: Layer,
    weight: NDArray[np.float32],
    bias: NDArray[np.float32] | None,
    groups: int,
    tensor: str,
) -> str:
    before, after = layer.pad
    inputs = [tensor, graph.array(weight)] + ([] if bias is None else [graph.array(bias)])
    return graph.node(
        "Conv",
        inputs,
        kernel_shape=[layer.kernel] * 2,
        strides=[layer.stride] * 2,
        dilations=[layer.dilation] * 2,
        pads=[before, before, after, after],
        group=groups,
    )


def _normalized(graph: _Graph, layer: Layer, arrays: LayerArrays, tensor: str) -> str:
    if arrays.gamma is None or arrays.beta is None:
        return tensor
    if arrays.mean is not None and arrays.var is not None:
        constants = [graph.array(a) for a in (arrays.gamma, arrays.beta, arrays.mean, arrays.var)]
        return graph.node("BatchNormalization", [tensor, *constants], epsilon=graph.eps)
    return _group_normalized(graph, layer, arrays.gamma, arrays.beta, tensor)


def _group_normalized(
    graph: _Graph, layer: Layer, gamma: NDArray[np.float32], beta: NDArray[np.float32], tensor: str
) -> str:
    """Group norm as an instance norm over groups: the operator itself comes with opset 18 only."""
    groups = graph.array(np.array([0, GROUP_NORM_GROUPS, -1], np.int64))
    maps = graph.array(np.array([0, layer.c_out, layer.side_out, layer.side_out], np.int64))
    one, zero = np.ones(GROUP_NORM_GROUPS, np.float32), np.zeros(GROUP_NORM_GROUPS, np.float32)
    tensor = graph.node("Reshape", [tensor, groups])
    tensor = graph.node(
        "InstanceNormalization", [tensor, graph.array(one), graph.array(zero)], epsilon=GROUP_NORM_EPS
    )
    tensor = graph.node("Reshape", [tensor, maps])
    tensor = graph.node("Mul", [tensor, graph.array(gamma.reshape(-1, 1, 1))])
    return graph.node("Add", [tensor, graph.array(beta.reshape(-1, 1, 1))])


def _activated(graph: _Graph, activation: str, tensor: str) -> str:
    if activation == "none":
        return tensor
    if activation == "relu6":
        low, high = graph.array(np.array(0, np.float32)), graph.array(np.array(6, np.float32))
        return graph.node("Clip", [tensor, low, high])
    if activation == "silu":
        return graph.node("Mul", [tensor, graph.node("Sigmoid", [tensor])])
    if activation == "hard_sigmoid":
        return graph.node("HardSigmoid", [tensor], alpha=1 / 6, beta=0.5)
    return graph.node({"relu": "Relu", "hard_swish": "HardSwish", "sigmoid": "Sigmoid"}[activation], [tensor])


def _serialised(graph: _Graph) -> bytes:
    """The model with its arrays copied once only: through protobuf's own objects it would be three times.

    A second occurrence of an embedded message is merged into the first, so the arrays follow as a second graph.

    Source: protobuf.dev, Encoding, "Last One Wins" and "Length-Delimited Records".
    """
    chunks: list[Any] = []
    total = 0
    for header, values in graph.initializers:
        raw = RAW_DATA + _varint(values.nbytes)
        front = INITIALIZER + _varint(len(header) + len(raw) + values.nbytes) + header + raw
        chunks += [front, values.reshape(-1).view(np.uint8).data]
        total += len(front) + values.nbytes
    return b"".join([graph.model.SerializeToString(), GRAPH, _varint(total), *chunks])


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def _finish(model: ModelProto, plan: Plan, batch: int | None) -> None:
    """Name the graph, its input and its output."""
    side, last = plan.spec.resolution, plan.units[-1]
    images: int | str = "N" if batch is None else batch
    flat = [images, last.c_out]
    shape = flat if last.kind == "classifier" else [*flat, last.side_out, last.side_out]
    graph = model.graph
    graph.name = plan.spec.name
    graph.node[-1].output[0] = OUTPUT
    graph.input.append(helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [images, 3, side, side]))
    graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, shape))
    model.opset_import.append(helper.make_opsetid("", OPSET))
