"""ONNX graphs written straight from the plan, without a framework or tracing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto, ValueInfoProto, helper

from mnv2search.errors import OptionError
from mnv2search.lowering.arbitrary import arbitrary_arrays
from mnv2search.lowering.fold import folded
from mnv2search.lowering.onnx_graph import OPSET, Graph
from mnv2search.lowering.onnx_heads import joined, spread, write_answer
from mnv2search.lowering.types import Floats, LayerArrays, NetworkArrays
from mnv2search.spec.heads.outputs import answer_shape, is_of_classes
from mnv2search.spec.plan import GROUP_NORM_GROUPS, Layer, Plan, Unit

__all__ = ["INPUT", "OPSET", "OUTPUT", "onnx_bytes", "onnx_model"]

INPUT = "image"
OUTPUT = "output"
# Source: the default of torch.nn.GroupNorm.
GROUP_NORM_EPS = 1e-5
# Activations that cut a tensor to its range at most.
RELUS = ("none", "relu", "relu6")


def onnx_bytes(
    plan: Plan,
    weights: NetworkArrays | None = None,
    *,
    seed: int = 0,
    fold: bool = True,
    batch: int | None = 1,
    gemm: bool = False,
) -> bytes:
    """The network as a serialised ONNX model that maps `image` (N, 3, S, S) to `output`.

    Args:
        plan: the network.
        weights: its arrays by (unit, layer); None takes arbitrary ones.
        seed: of the arbitrary ones.
        fold: fold batch norm into the convolutions, as a deployed network has it.
        batch: images per inference; None leaves it open.
        gemm: classify by a Gemm, which OpenVINO runs faster, and not by a convolution, as ONNX Runtime does.

    Raises:
        OptionError: `weights` lack a layer of the plan.
    """
    return onnx_model(plan, weights, graph=Graph(gemm=gemm), seed=seed, fold=fold, batch=batch).serialised()


def onnx_model(
    plan: Plan,
    weights: NetworkArrays | None = None,
    *,
    graph: Graph | None = None,
    seed: int = 0,
    fold: bool = True,
    batch: int | None = 1,
    show: bool = False,
) -> Graph:
    """The network as a graph; see `onnx_bytes`.

    Args:
        plan: the network.
        weights: its arrays by (unit, layer); None takes arbitrary ones.
        graph: an empty one to add to; None takes one in single precision.
        seed: of the arbitrary weights.
        fold: fold batch norm into the convolutions.
        batch: images per inference; None leaves it open.
        show: give out every tensor that is kept, besides the output.

    Raises:
        OptionError: `weights` lack a layer of the plan.
    """
    graph = graph or Graph()
    tensor = graph.keep((-1, "image"), INPUT)
    known: dict[str, str] = {}
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
            arrays.append(folded(found, eps=plan.norm_of(unit).eps) if fold else found)
            place += 1
        graph.prefix = unit.name or (f"layer_{unit_index + 1}" if unit.kind != "classifier" else "classifier")
        writer = _Writer(graph, unit_index, plan.norm_of(unit).eps, known)
        if unit.reads:
            tensor = joined(graph, plan, unit, [known[name] for name in unit.reads], batch)
        tensor = writer.unit(unit, arrays, tensor)
        known[graph.prefix] = known[f"{graph.prefix}/output"] = tensor
    if plan.dense:
        write_answer(graph, plan, known)
    _finish(graph, plan, batch, show=show)
    return graph


@dataclass(frozen=True, slots=True)
class _Writer:
    """Adds one unit to a graph; what lies inside it is noted in `known`, by the names of endpoints."""

    graph: Graph
    index: int
    eps: float
    known: dict[str, str]

    def unit(self, unit: Unit, arrays: list[LayerArrays], tensor: str) -> str:
        if unit.kind == "classifier":
            return self._classifier(arrays[0], tensor)
        graph = self.graph
        if unit.kind == "pooling":
            tensor = self._keep("squeezed", graph.node("GlobalAveragePool", [tensor]))
        entry = gated = tensor
        for i, (layer, of_layer) in enumerate(zip(unit.layers, arrays, strict=True)):
            if layer.role == "squeeze":
                gated = tensor
                tensor = self._keep("squeezed", graph.node("GlobalAveragePool", [tensor]))
            tensor = self._layer(i, layer, of_layer, tensor)
            self.known[f"{graph.prefix}/{layer.role}_output"] = tensor
            if layer.role == "excite":
                tensor = self._keep("gated", graph.node("Mul", [gated, tensor]))
        if unit.kind == "pooling":
            return spread(graph, tensor, unit.size_out)
        if unit.shortcut == "none":
            return tensor
        return self._keep("sum", graph.node("Add", [self._shortcut(unit, entry), tensor]))

    def _keep(self, what: int | str, tensor: str) -> str:
        return self.graph.keep((self.index, what), tensor)

    def _shortcut(self, unit: Unit, tensor: str) -> str:
        """The unit's input, average-pooled and zero-padded in channels where the shapes ask for it."""
        if unit.shortcut == "identity":
            return tensor
        if unit.stride > 1:
            window = [unit.stride, unit.stride]
            tensor = self.graph.node("AveragePool", [tensor], kernel_shape=window, strides=window, ceil_mode=1)
        if missing := unit.c_out - unit.c_in:
            pads = self.graph.array(np.array([0, 0, 0, 0, 0, missing, 0, 0], np.int64))
            tensor = self.graph.node("Pad", [tensor, pads])
        return self._keep("shortcut", tensor)

    def _classifier(self, arrays: LayerArrays, tensor: str) -> str:
        """A 1x1 convolution of the pooled map, as slim has it, or a Gemm."""
        graph, weight = self.graph, arrays.weight[0]
        pooled = self._keep("squeezed", graph.node("GlobalAveragePool", [tensor]))
        if graph.gemm:
            flat = self._keep("squeezed", graph.node("Flatten", [pooled]))
            inputs = [flat, *graph.constants(flat, weight, arrays.bias)]
            return self._keep(0, graph.node("Gemm", inputs, transB=1))
        inputs = [pooled, *graph.constants(pooled, weight.reshape(*weight.shape, 1, 1), arrays.bias)]
        return graph.node("Flatten", [self._keep(0, graph.node("Conv", inputs, kernel_shape=[1, 1]))])

    def _layer(self, i: int, layer: Layer, arrays: LayerArrays, tensor: str) -> str:
        """Convolution, norm and activation, with what lies between them kept where it is not fused."""
        linear = i if layer.activation in RELUS else f"{i}.linear"
        if arrays.gamma is not None and arrays.mean is None:
            tensor = self._convolution(layer, arrays, tensor, f"{i}.convolution")
            tensor = self._keep(f"{i}.convolution", tensor)
            tensor = self._group_normalized(layer, arrays, tensor)
        else:
            tensor = self._convolution(layer, arrays, tensor, linear)
            tensor = self._batch_normalized(arrays, tensor)
        if linear == i:
            is_cut = self.graph.cuts((self.index, i))
            return self._keep(i, tensor if is_cut else self._activated(i, layer.activation, tensor))
        return self._keep(i, self._activated(i, layer.activation, self._keep(linear, tensor)))

    def _convolution(self, layer: Layer, arrays: LayerArrays, tensor: str, what: int | str) -> str:
        """The convolution, in parts where they are unequal; those are kept as `what`, which is their sum's name."""
        weights, groups = arrays.weight, layer.groups
        if len(set(layer.parts)) == 1:
            weights, groups = (np.concatenate(weights),), len(layer.parts)
        if len(weights) == 1:
            return self._one_convolution(layer, weights[0], arrays.bias, groups, tensor)
        parts = self.graph.split(tensor, [inputs for inputs, _ in layer.parts])
        ends = np.cumsum([outputs for _, outputs in layer.parts])[:-1]
        biases = [None] * len(weights) if arrays.bias is None else np.split(arrays.bias, ends)
        done = [
            self._keep(what, self._one_convolution(layer, weight, bias, 1, part))
            for weight, bias, part in zip(weights, biases, parts, strict=True)
        ]
        return self.graph.node("Concat", done, axis=1)

    def _one_convolution(self, layer: Layer, weight: Floats, bias: Floats | None, groups: int, tensor: str) -> str:
        return self.graph.node(
            "Conv",
            [tensor, *self.graph.constants(tensor, weight, bias)],
            kernel_shape=[layer.kernel] * 2,
            strides=[layer.stride] * 2,
            dilations=[layer.dilation] * 2,
            pads=[layer.pad.top, layer.pad.left, layer.pad.bottom, layer.pad.right],
            group=groups,
        )

    def _batch_normalized(self, arrays: LayerArrays, tensor: str) -> str:
        constants = [a for a in (arrays.gamma, arrays.beta, arrays.mean, arrays.var) if a is not None]
        if len(constants) < 4:
            return tensor
        names = [self.graph.array(constant) for constant in constants]
        return self.graph.node("BatchNormalization", [tensor, *names], epsilon=self.eps)

    def _group_normalized(self, layer: Layer, arrays: LayerArrays, tensor: str) -> str:
        """Group norm as an instance norm over groups: the operator itself comes with opset 18 only."""
        graph = self.graph
        assert arrays.gamma is not None
        assert arrays.beta is not None
        groups = graph.array(np.array([0, GROUP_NORM_GROUPS, -1], np.int64))
        maps = graph.array(np.array([0, layer.c_out, *layer.size_out], np.int64))
        one, zero = np.ones(GROUP_NORM_GROUPS, np.float32), np.zeros(GROUP_NORM_GROUPS, np.float32)
        tensor = graph.node("Reshape", [tensor, groups])
        tensor = graph.node(
            "InstanceNormalization", [tensor, graph.array(one), graph.array(zero)], epsilon=GROUP_NORM_EPS
        )
        tensor = graph.node("Reshape", [tensor, maps])
        tensor = graph.node("Mul", [tensor, graph.array(arrays.gamma.reshape(-1, 1, 1))])
        return graph.node("Add", [tensor, graph.array(arrays.beta.reshape(-1, 1, 1))])

    def _activated(self, i: int, activation: str, tensor: str) -> str:
        graph = self.graph
        if activation == "none":
            return tensor
        if activation == "relu6":
            low, high = graph.array(np.array(0, np.float32)), graph.array(np.array(6, np.float32))
            return graph.node("Clip", [tensor, low, high])
        if activation == "silu":
            return graph.node("Mul", [tensor, self._keep(f"{i}.sigmoid", graph.node("Sigmoid", [tensor]))])
        if activation == "hard_sigmoid":
            return graph.node("HardSigmoid", [tensor], alpha=1 / 6, beta=0.5)
        return graph.node({"relu": "Relu", "hard_swish": "HardSwish", "sigmoid": "Sigmoid"}[activation], [tensor])


def _finish(graph: Graph, plan: Plan, batch: int | None, *, show: bool) -> None:
    """Name the graph, its input and its outputs."""
    images: int | str = "N" if batch is None else batch
    shape = [images, *answer_shape(plan)]
    kind = TensorProto.INT64 if is_of_classes(plan) else TensorProto.FLOAT
    graph.finish(OUTPUT)
    made = graph.model.graph
    made.name = plan.spec.name
    made.input.append(helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [images, 3, *plan.spec.size]))
    made.output.append(helper.make_tensor_value_info(OUTPUT, kind, shape))
    if show:
        shown = dict.fromkeys(name for name in graph.kept.values() if name not in (INPUT, OUTPUT))
        made.output.extend(ValueInfoProto(name=name) for name in shown)
