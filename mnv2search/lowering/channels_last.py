"""The plan laid out in operators of TFLite's vocabulary, channels last."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mnv2search.errors import OptionError
from mnv2search.lowering.arbitrary import arbitrary_arrays
from mnv2search.lowering.channels_last_heads import answered, enlarged
from mnv2search.lowering.fold import folded
from mnv2search.lowering.operators import RELU, RELU6, SAME, VALID, Graph, Quantization
from mnv2search.lowering.quantize import Key, Ranges, per_channel, scale_and_zero
from mnv2search.lowering.types import Floats, LayerArrays, NetworkArrays
from mnv2search.spec.geometry import padded
from mnv2search.spec.layers import NO_PAD
from mnv2search.spec.plan import GROUP_NORM_GROUPS, Layer, Plan, Unit

__all__ = ["INPUT", "OUTPUT", "laid_out"]

INPUT, OUTPUT = "image", "output"
# Source: the default of torch.nn.GroupNorm.
GROUP_NORM_EPS = 1e-5
# Activations that an operator takes in.
FUSED = {"none": 0, "relu": RELU, "relu6": RELU6}
# What the sigmoid and a number from 0 to 6 have in integers. Source: LiteRT, 8-bit quantization specification.
UNIT_RANGE = Quantization((1 / 256,), -128)
TO_SIX = Quantization((6 / 255,), -128)


def laid_out(
    plan: Plan,
    weights: NetworkArrays | None,
    *,
    graph: Graph,
    seed: int = 0,
    batch: int = 1,
    ranges: Ranges | None = None,
    half: bool = False,
) -> int:
    """Add the network to an empty graph; the number of its output.

    Args:
        plan: the network.
        weights: its arrays by (unit, layer); None takes arbitrary ones.
        graph: to add to; its first tensor becomes the image, (N, H, W, 3).
        seed: of the arbitrary weights.
        batch: images per inference.
        ranges: of its tensors, for a network in eight-bit integers; input and output stay in single precision.
        half: store weights and biases in half precision, each made single again by an operator.

    Raises:
        OptionError: `weights` lack a layer of the plan.
    """
    walk = _Walk(graph, graph.input((batch, *plan.spec.size, 3), INPUT), ranges, half=half)
    place = 0
    for index, unit in enumerate(plan.units):
        arrays: list[LayerArrays] = []
        for layer_index, layer in enumerate(unit.layers):
            if weights is None:
                found = arbitrary_arrays(layer, seed=seed, place=place, fold=True)
            elif (index, layer_index) in weights:
                found = weights[index, layer_index]
            else:
                raise OptionError(f"the weights lack {plan.at[index]}, layer {layer_index} ({layer.role})")
            arrays.append(folded(found, eps=plan.norm_of(unit).eps))
            place += 1
        walk.unit(index, unit, arrays)
    output = answered(graph, plan, walk.known) if plan.dense else walk.finished()
    graph.name(output, OUTPUT)
    return output


class _Walk:
    """The graph in the making, the tensor that comes next and those that heads read."""

    def __init__(self, graph: Graph, entry: int, ranges: Ranges | None, *, half: bool) -> None:
        self.graph = graph
        self._ranges = ranges
        self._half = half
        self._unit = -1
        # by the names of endpoints
        self.known: dict[str, int] = {}
        self._tensor = entry
        if ranges is not None:
            self._now("QUANTIZE", [entry], graph.shape(entry), "image")

    def unit(self, index: int, unit: Unit, arrays: Sequence[LayerArrays]) -> None:
        """Add one unit."""
        self._unit = index
        name = unit.name or f"layer_{index + 1}"
        if unit.reads:
            self._joined(unit)
        if unit.kind == "pooling":
            self._pooled(keep=True)
        entry = gated = self._tensor
        for i, (layer, of_layer) in enumerate(zip(unit.layers, arrays, strict=True)):
            if layer.role in ("squeeze", "classifier"):
                gated = self._tensor
                self._pooled(keep=layer.role == "squeeze")
            self._layer(i, layer, of_layer)
            self.known[f"{name}/{layer.role}_output"] = self._tensor
            if layer.role == "excite":
                self._now("MUL", [gated, self._tensor], self.graph.shape(gated), "gated")
        if unit.shortcut != "none":
            shortcut = self._shortcut(unit, entry)
            self._now("ADD", [shortcut, self._tensor], self.graph.shape(self._tensor), "sum", activation=0)
        if unit.kind == "pooling":
            self._tensor = enlarged(self.graph, self._tensor, unit.size_out)
        self.known[name] = self.known[f"{name}/output"] = self._tensor

    def finished(self) -> int:
        """The output in floating point."""
        if self._ranges is not None:
            self._floating()
        return self._tensor

    def _now(self, kind: str, inputs: Sequence[int], shape: tuple[int, ...], what: int | str, **options: int) -> None:
        """A new operator, whose output comes next and has the range that is called `what`."""
        self._tensor = self.graph.operator(kind, inputs, shape, quantization=self._of(what), **options)

    def _of(self, what: int | str) -> Quantization | None:
        """How the tensor is in integers; None where none is."""
        if self._ranges is None:
            return None
        key: Key = (self._unit, what)
        scale, zero = scale_and_zero(*self._ranges[key])
        return Quantization((scale,), zero)

    def _joined(self, unit: Unit) -> None:
        """What a unit of a head reads: several side by side in channels, the smaller ones enlarged."""
        size = unit.size_out if unit.kind == "resize" else unit.size_in
        read = [self.known[name] for name in unit.reads]
        if len(read) > 1 and self._ranges is not None:
            # What is joined has one scale, and the smaller map is the quicker one to change.
            scale = self._of("joined")
            read = [self.graph.operator("QUANTIZE", [t], self.graph.shape(t), quantization=scale) for t in read]
        read = [enlarged(self.graph, tensor, size) for tensor in read]
        self._tensor = read[0]
        if len(read) > 1:
            shape = (*self.graph.shape(read[0])[:3], sum(self.graph.shape(tensor)[3] for tensor in read))
            self._now("CONCATENATION", read, shape, "joined", axis=3, activation=0)

    def _floating(self) -> None:
        self._tensor = self.graph.operator("DEQUANTIZE", [self._tensor], self.graph.shape(self._tensor))

    def _pooled(self, *, keep: bool) -> None:
        """Global average pool; (N, C), or (N, 1, 1, C) where the dimensions are kept."""
        images, _, _, channels = self.graph.shape(self._tensor)
        shape = (images, 1, 1, channels) if keep else (images, channels)
        self._now("MEAN", [self._tensor, self.graph.integers(1, 2)], shape, "squeezed", keep_dims=int(keep))

    def _shortcut(self, unit: Unit, tensor: int) -> int:
        """The unit's input, average-pooled and zero-padded in channels where the shapes ask for it."""
        graph, same = self.graph, self.graph.quantization(tensor)
        images, *_, channels = graph.shape(tensor)
        if (stride := unit.stride) > 1:
            tensor = graph.operator(
                "AVERAGE_POOL_2D",
                [tensor],
                (images, *unit.size_out, channels),
                quantization=same,
                padding=SAME,
                stride=stride,
                activation=0,
            )
        if missing := unit.c_out - unit.c_in:
            pads = graph.integers((0, 0), (0, 0), (0, 0), (0, missing))
            tensor = graph.operator("PAD", [tensor, pads], (images, *unit.size_out, unit.c_out), quantization=same)
        return tensor

    def _layer(self, i: int, layer: Layer, arrays: LayerArrays) -> None:
        """Convolution, norm and activation."""
        fused = FUSED.get(layer.activation)
        linear = i if fused is not None else f"{i}.linear"
        if layer.role == "classifier":
            inputs = [self._tensor, *self._constants(arrays.weight[0], arrays.bias, 0)]
            shape = (self.graph.shape(self._tensor)[0], layer.c_out)
            self._now("FULLY_CONNECTED", inputs, shape, i, activation=0)
        elif arrays.gamma is not None and arrays.beta is not None:
            self._convolution(layer, arrays, f"{i}.convolution", 0)
            self._group_normalized(arrays.gamma, arrays.beta, linear, fused or 0)
        else:
            self._convolution(layer, arrays, linear, fused or 0)
        if fused is None:
            self._activated(i, layer.activation)

    def _convolution(self, layer: Layer, arrays: LayerArrays, what: int | str, activation: int) -> None:
        """The convolution, in parts where they are unequal."""
        if not self.graph.explicit and layer.pad != NO_PAD and not _is_same(layer):
            self._padded(layer)
        weights, bias = arrays.weight, arrays.bias
        if len(set(layer.parts)) == 1:
            weights = (np.concatenate(weights),)
        if len(weights) == 1:
            self._one_convolution(layer, weights[0], bias, what, activation)
            return
        whole, outputs = self._tensor, np.cumsum([size for _, size in layer.parts])[:-1]
        biases = [None] * len(weights) if bias is None else np.split(bias, outputs)
        done: list[int] = []
        first = 0
        for (size, _), weight, of_part in zip(layer.parts, weights, biases, strict=True):
            self._tensor = self._slice(whole, first, size)
            first += size
            self._one_convolution(layer, weight, of_part, what, activation)
            done.append(self._tensor)
        shape = (*self.graph.shape(self._tensor)[:3], layer.c_out)
        self._now("CONCATENATION", done, shape, what, axis=3, activation=0)

    def _padded(self, layer: Layer) -> None:
        top, bottom, left, right = layer.pad
        images, height, width, channels = self.graph.shape(self._tensor)
        pads = self.graph.integers((0, 0), (top, bottom), (left, right), (0, 0))
        shape = images, height + top + bottom, width + left + right, channels
        same = self.graph.quantization(self._tensor)
        self._tensor = self.graph.operator("PAD", [self._tensor, pads], shape, quantization=same)

    def _slice(self, tensor: int, first: int, size: int) -> int:
        shape = (*self.graph.shape(tensor)[:3], size)
        begin, end = self.graph.integers(0, 0, 0, first), self.graph.integers(*shape)
        same = self.graph.quantization(tensor)
        return self.graph.operator("SLICE", [tensor, begin, end], shape, quantization=same)

    def _one_convolution(
        self, layer: Layer, weight: Floats, bias: Floats | None, what: int | str, activation: int
    ) -> None:
        options = {
            "padding": SAME if _is_same(layer) else VALID,
            "top": layer.pad.top,
            "bottom": layer.pad.bottom,
            "left": layer.pad.left,
            "right": layer.pad.right,
            "stride": layer.stride,
            "activation": activation,
            "dilation": layer.dilation,
        }
        shape = (self.graph.shape(self._tensor)[0], *layer.size_out, len(weight))
        if layer.groups > 1:
            options["multiplier"] = len(weight) // layer.groups
            last = weight.transpose(1, 2, 3, 0)  # (1, k, k, outputs)
            inputs = [self._tensor, *self._constants(last, bias, 3)]
            self._now("DEPTHWISE_CONV_2D", inputs, shape, what, **options)
        else:
            last = weight.reshape(*weight.shape[:2], layer.kernel, layer.kernel).transpose(0, 2, 3, 1)
            inputs = [self._tensor, *self._constants(last, bias, 0)]
            self._now("CONV_2D", inputs, shape, what, **options)

    def _constants(self, weight: Floats, bias: Floats | None, axis: int) -> list[int]:
        """Weight and bias of what reads the next tensor; `axis` of the weight holds its outputs."""
        graph, reads = self.graph, self.graph.quantization(self._tensor)
        if bias is None:
            bias = np.zeros(weight.shape[axis], np.float32)
        if reads is not None:
            found = per_channel(np.moveaxis(weight, axis, 0), bias, input_scale=float(reads.scales[0]))
            assert found.bias is not None
            values = graph.array(np.moveaxis(found.values, 0, axis), Quantization(found.scales, 0, axis))
            scales = found.scales * np.float32(reads.scales[0])
            return [values, graph.array(found.bias, Quantization(scales))]
        if self._half:
            stored = [graph.array(array.astype(np.float16)) for array in (weight, bias)]
            return [graph.operator("DEQUANTIZE", [array], graph.shape(array)) for array in stored]
        return [graph.array(weight), graph.array(bias)]

    def _group_normalized(self, gamma: Floats, beta: Floats, what: int | str, activation: int) -> None:
        """Group norm of its arithmetic, in floating point: there is no operator for it."""
        graph = self.graph
        if self._ranges is not None:
            self._floating()
        whole = graph.shape(self._tensor)
        images, height, width, channels = whole
        grouped = (images, height * width, GROUP_NORM_GROUPS, channels // GROUP_NORM_GROUPS)
        groups = self._reshaped(self._tensor, grouped)
        centred = graph.operator("SUB", [groups, self._group_mean(self._tensor)], grouped, activation=0)
        squares = graph.operator("MUL", [centred, centred], grouped, activation=0)
        variance = self._group_mean(self._reshaped(squares, whole))
        one, eps = graph.shape(variance), graph.array(np.array([GROUP_NORM_EPS], np.float32))
        factor = graph.operator("RSQRT", [graph.operator("ADD", [variance, eps], one, activation=0)], one)
        normal = self._reshaped(graph.operator("MUL", [centred, factor], grouped, activation=0), whole)
        scaled = graph.operator("MUL", [normal, graph.array(gamma)], whole, activation=0)
        self._tensor = graph.operator("ADD", [scaled, graph.array(beta)], whole, activation=activation)
        if self._ranges is not None:
            self._now("QUANTIZE", [self._tensor], whole, what)

    def _group_mean(self, tensor: int) -> int:
        """The mean of each group, (N, 1, groups, 1), first over the map and then over the channels of the group."""
        images, channels = self.graph.shape(tensor)[0], self.graph.shape(tensor)[3]
        by_channel = self._mean(tensor)
        groups = (images * GROUP_NORM_GROUPS, 1, channels // GROUP_NORM_GROUPS, 1)
        return self._reshaped(self._mean(self._reshaped(by_channel, groups)), (images, 1, GROUP_NORM_GROUPS, 1))

    def _mean(self, tensor: int) -> int:
        images, _, _, channels = self.graph.shape(tensor)
        return self.graph.operator("MEAN", [tensor, self.graph.integers(1, 2)], (images, 1, 1, channels), keep_dims=1)

    def _reshaped(self, tensor: int, shape: tuple[int, ...]) -> int:
        return self.graph.operator("RESHAPE", [tensor, self.graph.integers(*shape)], shape)

    def _activated(self, i: int, activation: str) -> None:
        """An activation of its own."""
        graph, linear = self.graph, self._tensor
        shape, integers = graph.shape(linear), self._ranges is not None
        if activation == "hard_swish":
            self._now("HARD_SWISH", [linear], shape, i)
            return
        if activation == "hard_sigmoid":
            # Source: arXiv 1905.02244, section 5.2: the ReLU6 of x + 3, over 6.
            three, sixth = self._number(3.0), self._number(1 / 6)
            six = TO_SIX if integers else None
            cut = graph.operator("ADD", [linear, three], shape, quantization=six, activation=RELU6)
            self._now("MUL", [cut, sixth], shape, i, activation=0)
            return
        unit = UNIT_RANGE if integers else None
        self._tensor = graph.operator("LOGISTIC", [linear], shape, quantization=unit)
        if activation == "silu":
            self._now("MUL", [linear, self._tensor], shape, i, activation=0)

    def _number(self, value: float) -> int:
        """A constant of one positive number, in integers where there are any."""
        if self._ranges is None:
            return self.graph.array(np.array([value], np.float32))
        return self.graph.array(np.array([127], np.int8), Quantization((value / 127,)))


def _is_same(layer: Layer) -> bool:
    """Whether TFLite's own padding SAME pads as the layer does. Source: tensorflow/lite/kernels/padding.h."""
    return (layer.pad, layer.size_out) == padded("same", layer.size_in, layer.kernel, layer.stride, layer.dilation)
