"""The plan laid out in operators of TFLite's vocabulary, channels last."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mnv2search.lowering.emit import GROUP_NORM_EPS, RELUS, Convolution, Emitter, emit
from mnv2search.lowering.quantize import Key, Ranges, per_channel, scale_and_zero
from mnv2search.lowering.tflite.heads import enlarged, write_answer
from mnv2search.lowering.tflite.operators import RELU, RELU6, SAME, VALID, Graph, Quantization
from mnv2search.lowering.types import Floats, LayerArrays, NetworkArrays
from mnv2search.spec.geometry import padded
from mnv2search.spec.layers import NO_PAD
from mnv2search.spec.plan import GROUP_NORM_GROUPS, Layer, Plan
from mnv2search.spec.size import Size

INPUT, OUTPUT = "image", "output"
# Activations that an operator takes in; others stand alone.
FUSED = {"relu": RELU, "relu6": RELU6}
# The sigmoid, and a number from 0 to 6, in integers. Source: LiteRT, 8-bit quantization specification.
UNIT_RANGE = Quantization((1 / 256,), -128)
TO_SIX = Quantization((6 / 255,), -128)


def lower(
    plan: Plan,
    weights: NetworkArrays | None,
    *,
    graph: Graph,
    seed: int = 0,
    batch: int = 1,
    ranges: Ranges | None = None,
    half: bool = False,
) -> int:
    """Add the network to an empty graph; returns the number of its output.

    The first tensor of `graph` becomes the image, (N, H, W, 3). With `half`, each weight and bias is made single
    again by an operator. See `tflite_bytes` for the rest.

    Raises:
        OptionError: `weights` lack a layer of the plan.
    """
    emitter = _ChannelsLast(graph, (batch, *plan.spec.size, 3), ranges, half=half)
    known = emit(plan, weights, emitter, seed=seed)
    output = write_answer(graph, plan, known) if plan.dense else emitter.floating(list(known.values())[-1])
    graph.name(output, OUTPUT)
    return output


class _ChannelsLast(Emitter[int]):
    """Adds operators to a graph; a tensor is a number."""

    def __init__(self, graph: Graph, image: tuple[int, ...], ranges: Ranges | None, *, half: bool) -> None:
        self.graph = graph
        self._image = image
        self._ranges = ranges
        self._half = half

    def floating(self, tensor: int) -> int:
        """The tensor in floating point."""
        if self._ranges is None:
            return tensor
        return self.graph.operator("DEQUANTIZE", [tensor], self.graph.shape(tensor))

    def _keyed(self, kind: str, inputs: Sequence[int], shape: tuple[int, ...], key: Key, **options: int) -> int:
        """The output of a new operator, which has the range of a key."""
        return self.graph.operator(kind, inputs, shape, quantization=self._of(key), **options)

    def _of(self, key: Key) -> Quantization | None:
        """The quantization of a key; None where nothing is in integers."""
        if self._ranges is None:
            return None
        scale, zero = scale_and_zero(*self._ranges[key])
        return Quantization((scale,), zero)

    def _alike(self, kind: str, inputs: Sequence[int], shape: tuple[int, ...], **options: int) -> int:
        """The output of a new operator, in the quantization of its first input."""
        return self.graph.operator(kind, inputs, shape, quantization=self.graph.quantization(inputs[0]), **options)

    def image(self) -> int:
        entry = self.graph.input(self._image, INPUT)
        return entry if self._ranges is None else self._keyed("QUANTIZE", [entry], self._image, (-1, "image"))

    def aligned(self, tensor: int, key: Key) -> int:
        """Joined tensors have one scale, and the smaller map is the quicker one to change."""
        return tensor if self._ranges is None else self._keyed("QUANTIZE", [tensor], self.graph.shape(tensor), key)

    def enlarged(self, tensor: int, own: Size, channels: int, size: Size) -> int:  # noqa: ARG002
        return enlarged(self.graph, tensor, size)

    def concatenated(self, tensors: list[int], key: Key) -> int:
        shape = (*self.graph.shape(tensors[0])[:3], sum(self.graph.shape(tensor)[3] for tensor in tensors))
        return self._keyed("CONCATENATION", tensors, shape, key, axis=3, activation=0)

    def slices(self, tensor: int, sizes: list[int]) -> Iterator[int]:
        first = 0
        for size in sizes:
            shape = (*self.graph.shape(tensor)[:3], size)
            begin, end = self.graph.integers(0, 0, 0, first), self.graph.integers(*shape)
            first += size
            yield self._alike("SLICE", [tensor, begin, end], shape)

    def pooled(self, tensor: int, key: Key, *, flat: bool) -> int:
        """Global average pool; (N, C) where it is flat, else (N, 1, 1, C)."""
        images, _, _, channels = self.graph.shape(tensor)
        shape = (images, channels) if flat else (images, 1, 1, channels)
        return self._keyed("MEAN", [tensor, self.graph.integers(1, 2)], shape, key, keep_dims=int(not flat))

    def spread(self, tensor: int, size: Size) -> int:
        return enlarged(self.graph, tensor, size)

    def gated(self, tensor: int, gate: int, key: Key) -> int:
        return self._keyed("MUL", [tensor, gate], self.graph.shape(tensor), key)

    def added(self, shortcut: int, tensor: int, key: Key) -> int:
        return self._keyed("ADD", [shortcut, tensor], self.graph.shape(tensor), key, activation=0)

    def shrunk(self, tensor: int, stride: int, size: Size) -> int:
        images, *_, channels = self.graph.shape(tensor)
        shape = (images, *size, channels)
        return self._alike("AVERAGE_POOL_2D", [tensor], shape, padding=SAME, stride=stride, activation=0)

    def widened(self, tensor: int, missing: int) -> int:
        pads = self.graph.integers((0, 0), (0, 0), (0, 0), (0, missing))
        *place, channels = self.graph.shape(tensor)
        return self._alike("PAD", [tensor, pads], (*place, channels + missing))

    def linear(self, arrays: LayerArrays, tensor: int, key: Key) -> int:
        weight = arrays.weight[0]
        inputs = [tensor, *self._constants(tensor, weight, arrays.bias, 0)]
        return self._keyed("FULLY_CONNECTED", inputs, (self.graph.shape(tensor)[0], len(weight)), key, activation=0)

    def convolution(self, convolution: Convolution, tensor: int, key: Key) -> int:
        layer, weight = convolution.layer, convolution.weight
        is_same = _is_same(layer)
        if not self.graph.explicit and layer.pad != NO_PAD and not is_same:
            tensor = self._padded(layer, tensor)
        options = {
            "padding": SAME if is_same else VALID,
            "top": layer.pad.top,
            "bottom": layer.pad.bottom,
            "left": layer.pad.left,
            "right": layer.pad.right,
            "stride": layer.stride,
            "activation": FUSED.get(convolution.activation, 0),
            "dilation": layer.dilation,
        }
        shape = (self.graph.shape(tensor)[0], *layer.size_out, len(weight))
        if layer.groups > 1:
            options["multiplier"] = len(weight) // layer.groups
            last = weight.transpose(1, 2, 3, 0)  # (1, k, k, outputs)
            inputs = [tensor, *self._constants(tensor, last, convolution.bias, 3)]
            return self._keyed("DEPTHWISE_CONV_2D", inputs, shape, key, **options)
        last = weight.reshape(*weight.shape[:2], layer.kernel, layer.kernel).transpose(0, 2, 3, 1)
        inputs = [tensor, *self._constants(tensor, last, convolution.bias, 0)]
        return self._keyed("CONV_2D", inputs, shape, key, **options)

    def _padded(self, layer: Layer, tensor: int) -> int:
        top, bottom, left, right = layer.pad
        images, height, width, channels = self.graph.shape(tensor)
        pads = self.graph.integers((0, 0), (top, bottom), (left, right), (0, 0))
        return self._alike("PAD", [tensor, pads], (images, height + top + bottom, width + left + right, channels))

    def _constants(self, tensor: int, weight: Floats, bias: Floats | None, axis: int) -> list[int]:
        """Weight and bias of what reads a tensor; `axis` of the weight holds its outputs."""
        graph, reads = self.graph, self.graph.quantization(tensor)
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

    def group_norm(self, layer: Layer, arrays: LayerArrays, tensor: int, keys: tuple[Key, Key]) -> int:
        """Group norm by its arithmetic, in floating point: there is no operator for it."""
        graph = self.graph
        assert arrays.gamma is not None
        assert arrays.beta is not None
        tensor = self.floating(tensor)
        whole = graph.shape(tensor)
        images, height, width, channels = whole
        grouped = (images, height * width, GROUP_NORM_GROUPS, channels // GROUP_NORM_GROUPS)
        groups = self._reshaped(tensor, grouped)
        centred = graph.operator("SUB", [groups, self._group_mean(tensor)], grouped, activation=0)
        squares = graph.operator("MUL", [centred, centred], grouped, activation=0)
        variance = self._group_mean(self._reshaped(squares, whole))
        one, eps = graph.shape(variance), graph.array(np.array([GROUP_NORM_EPS], np.float32))
        factor = graph.operator("RSQRT", [graph.operator("ADD", [variance, eps], one, activation=0)], one)
        normal = self._reshaped(graph.operator("MUL", [centred, factor], grouped, activation=0), whole)
        scaled = graph.operator("MUL", [normal, graph.array(arrays.gamma)], whole, activation=0)
        activation = FUSED.get(layer.activation, 0)
        shifted = graph.operator("ADD", [scaled, graph.array(arrays.beta)], whole, activation=activation)
        return shifted if self._ranges is None else self._keyed("QUANTIZE", [shifted], whole, keys[1])

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

    def activated(self, layer: Layer, arrays: LayerArrays, tensor: int, key: Key) -> int:  # noqa: ARG002
        graph, activation = self.graph, layer.activation
        shape, integers = graph.shape(tensor), self._ranges is not None
        if activation in RELUS:
            return tensor
        if activation == "hard_swish":
            return self._keyed("HARD_SWISH", [tensor], shape, key)
        if activation == "hard_sigmoid":
            # Source: arXiv 1905.02244, section 5.2: the ReLU6 of x + 3, over 6.
            three, sixth = self._number(3.0), self._number(1 / 6)
            six = TO_SIX if integers else None
            cut = graph.operator("ADD", [tensor, three], shape, quantization=six, activation=RELU6)
            return self._keyed("MUL", [cut, sixth], shape, key, activation=0)
        sigmoid = graph.operator("LOGISTIC", [tensor], shape, quantization=UNIT_RANGE if integers else None)
        return self._keyed("MUL", [tensor, sigmoid], shape, key, activation=0) if activation == "silu" else sigmoid

    def _number(self, value: float) -> int:
        """A constant of one positive number, in integers where there are any."""
        if self._ranges is None:
            return self.graph.array(np.array([value], np.float32))
        return self.graph.array(np.array([127], np.int8), Quantization((value / 127,)))


def _is_same(layer: Layer) -> bool:
    """Whether TFLite's own padding SAME pads as the layer does. Source: tensorflow/lite/kernels/padding.h."""
    return (layer.pad, layer.size_out) == padded("same", layer.size_in, layer.kernel, layer.stride, layer.dilation)
