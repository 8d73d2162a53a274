"""Conversion of a plan to TFLite operators, channels last."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mnv2search.lowering.emit import GROUP_NORM_EPS, RELUS, Convolution, Emitter, emit
from mnv2search.lowering.quantize import Key, Ranges, per_channel, scale_and_zero
from mnv2search.lowering.tflite.operators import RELU, RELU6, SAME, VALID, Graph, Quantization
from mnv2search.lowering.types import Floats, LayerArrays, NetworkArrays
from mnv2search.spec.geometry import padded
from mnv2search.spec.heads.anchors import CODER_SCALES, MOST_GROWTH, anchors, anchors_per_map
from mnv2search.spec.layers import NO_PAD
from mnv2search.spec.model_spec import DeepLab, SsdLite
from mnv2search.spec.plan import GROUP_NORM_GROUPS, Layer, Plan
from mnv2search.spec.size import Size

INPUT, OUTPUT = "image", "output"
# Activations that are fused into an operator; others are separate operators.
FUSED = {"relu": RELU, "relu6": RELU6}
# Quantization of the output of a sigmoid in integers. Source: LiteRT, 8-bit quantization specification.
UNIT_RANGE = Quantization((1 / 256,), -128)
TO_SIX = Quantization((6 / 255,), -128)
# LiteRT's custom operator for suppression. Source: tensorflow/lite/kernels/detection_postprocess.cc.
SUPPRESSION = "TFLite_Detection_PostProcess"
# That operator refuses empty boxes, and boxes outside of the image are empty after clipping.
SMALLEST_SIDE = 1e-6
# A value of the schema's TensorType.
INT64 = 4


def lower(
    plan: Plan,
    weights: NetworkArrays | None,
    *,
    graph: Graph,
    batch: int = 1,
    ranges: Ranges | None = None,
    half: bool = False,
) -> int:
    """Add the network to an empty graph; returns the number of its output.

    The first tensor of `graph` becomes the image, (N, H, W, 3). With `half`, an operator converts each weight and
    bias back to single precision. See `tflite_bytes` for the other arguments.
    """
    emitter = _ChannelsLast(graph, (batch, *plan.spec.size, 3), ranges, half=half)
    known = emit(plan, weights, emitter)
    output = _write_answer(graph, plan, known) if plan.dense else _real(graph, list(known.values())[-1])
    graph.name(output, OUTPUT)
    return output


class _ChannelsLast(Emitter[int]):
    def __init__(self, graph: Graph, image: tuple[int, ...], ranges: Ranges | None, *, half: bool) -> None:
        self.graph = graph
        self._image = image
        self._ranges = ranges
        self._half = half

    def _keyed(self, kind: str, inputs: Sequence[int], shape: tuple[int, ...], key: Key, **options: int) -> int:
        return self.graph.operator(kind, inputs, shape, quantization=self._of(key), **options)

    def _of(self, key: Key) -> Quantization | None:
        if self._ranges is None:
            return None
        scale, zero = scale_and_zero(*self._ranges[key])
        return Quantization((scale,), zero)

    def _alike(self, kind: str, inputs: Sequence[int], shape: tuple[int, ...], **options: int) -> int:
        """An operator whose output has the quantization of its first input."""
        return self.graph.operator(kind, inputs, shape, quantization=self.graph.quantization(inputs[0]), **options)

    def image(self) -> int:
        entry = self.graph.input(self._image, INPUT)
        return entry if self._ranges is None else self._keyed("QUANTIZE", [entry], self._image, (-1, "image"))

    def aligned(self, tensor: int, key: Key) -> int:
        """The tensor at the scale of the concatenation, converted before enlarging, which is faster."""
        return tensor if self._ranges is None else self._keyed("QUANTIZE", [tensor], self.graph.shape(tensor), key)

    def enlarged(self, tensor: int, own: Size, channels: int, size: Size) -> int:  # noqa: ARG002
        return _enlarged(self.graph, tensor, size)

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
        """The global average pool, (N, C) if `flat`, else (N, 1, 1, C)."""
        images, _, _, channels = self.graph.shape(tensor)
        shape = (images, channels) if flat else (images, 1, 1, channels)
        return self._keyed("MEAN", [tensor, self.graph.integers(1, 2)], shape, key, keep_dims=int(not flat))

    def spread(self, tensor: int, size: Size) -> int:
        return _enlarged(self.graph, tensor, size)

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
            **layer.pad._asdict(),
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
        """Weight and bias of an operator that reads `tensor`; `axis` is the output axis of the weight."""
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

    def group_norm(self, layer: Layer, scale_shift: tuple[Floats, Floats], tensor: int, key: Key) -> int:
        """A group norm composed of arithmetic operators in floating point, because TFLite has no operator for it."""
        graph, (scale, shift) = self.graph, scale_shift
        tensor = _real(graph, tensor)
        images, height, width, channels = whole = graph.shape(tensor)
        grouped = (images, height * width, GROUP_NORM_GROUPS, channels // GROUP_NORM_GROUPS)
        groups = self._reshaped(tensor, grouped)
        centred = graph.operator("SUB", [groups, self._group_mean(tensor)], grouped, activation=0)
        squares = graph.operator("MUL", [centred, centred], grouped, activation=0)
        variance = self._group_mean(self._reshaped(squares, whole))
        one, eps = graph.shape(variance), graph.array(np.array([GROUP_NORM_EPS], np.float32))
        factor = graph.operator("RSQRT", [graph.operator("ADD", [variance, eps], one, activation=0)], one)
        normal = self._reshaped(graph.operator("MUL", [centred, factor], grouped, activation=0), whole)
        scaled = graph.operator("MUL", [normal, graph.array(scale)], whole, activation=0)
        activation = FUSED.get(layer.activation, 0)
        shifted = graph.operator("ADD", [scaled, graph.array(shift)], whole, activation=activation)
        return shifted if self._ranges is None else self._keyed("QUANTIZE", [shifted], whole, key)

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
        if self._ranges is None:
            return self.graph.array(np.array([value], np.float32))
        return self.graph.array(np.array([127], np.int8), Quantization((value / 127,)))


def _is_same(layer: Layer) -> bool:
    """Whether TFLite's own padding SAME pads as the layer does. Source: tensorflow/lite/kernels/padding.h."""
    return (layer.pad, layer.size_out) == padded("same", layer.size_in, layer.kernel, layer.stride, layer.dilation)


def _enlarged(graph: Graph, tensor: int, size: Size) -> int:
    """A map resized bilinearly with aligned corners; the same map if it already has this size."""
    images, *own, channels = graph.shape(tensor)
    if tuple(own) == size:
        return tensor
    return graph.operator(
        "RESIZE_BILINEAR",
        [tensor, graph.integers(*size)],
        (images, *size, channels),
        quantization=graph.quantization(tensor),
        corners=1,
    )


def _write_answer(graph: Graph, plan: Plan, known: Mapping[str, int]) -> int:
    """The index of the network's output tensor, in single precision; class indices are 64-bit integers."""
    head = plan.spec.head
    if isinstance(head, SsdLite):
        return _boxes(graph, plan, head, known)
    assert isinstance(head, DeepLab)
    if head.output == "logits":
        return _real(graph, known["head/logits"])
    map_ = known["head/resized"]
    if head.output == "resized":
        return _real(graph, map_)
    return graph.operator("ARG_MAX", [map_, graph.integers(3)], graph.shape(map_)[:3], numbers=INT64)


def _real(graph: Graph, tensor: int) -> int:
    """The tensor in floating point."""
    if graph.quantization(tensor) is None:
        return tensor
    return graph.operator("DEQUANTIZE", [tensor], graph.shape(tensor))


def _boxes(graph: Graph, plan: Plan, head: SsdLite, known: Mapping[str, int]) -> int:
    maps = range(1, len(anchors_per_map(plan)) + 1)
    places = _rows(graph, [known[f"head/boxes_{i}"] for i in maps], 4)
    logits = _rows(graph, [known[f"head/scores_{i}"] for i in maps], head.classes + 1)
    if head.output == "raw":
        return _beside(graph, [places, logits])
    corners = _decoded(graph, plan, places)
    objects = _slice(graph, logits, 1, head.classes)
    scores = graph.operator("LOGISTIC", [objects], graph.shape(objects))
    if head.output == "boxes":
        return _beside(graph, [corners, scores])
    return _detections(graph, head, corners, scores)


def _rows(graph: Graph, tensors: Sequence[int], length: int) -> int:
    """Every position of the maps (N, H, W, k * length) as rows (N, A, length), in single precision."""
    images = graph.shape(tensors[0])[0]
    found: list[int] = []
    for tensor in tensors:
        _, height, width, channels = graph.shape(tensor)
        rows = (images, height * width * channels // length, length)
        found.append(graph.operator("RESHAPE", [_real(graph, tensor), graph.integers(*rows)], rows))
    if len(found) == 1:
        return found[0]
    shape = (images, sum(graph.shape(rows)[1] for rows in found), length)
    return graph.operator("CONCATENATION", found, shape, axis=1, activation=0)


def _beside(graph: Graph, tensors: Sequence[int]) -> int:
    """Rows concatenated along their last axis."""
    shape = (*graph.shape(tensors[0])[:2], sum(graph.shape(tensor)[2] for tensor in tensors))
    return graph.operator("CONCATENATION", tensors, shape, axis=2, activation=0)


def _slice(graph: Graph, tensor: int, first: int, size: int) -> int:
    """Part of the last of three axes."""
    shape = (*graph.shape(tensor)[:2], size)
    return graph.operator("SLICE", [tensor, graph.integers(0, 0, first), graph.integers(*shape)], shape)


def _decoded(graph: Graph, plan: Plan, places: int) -> int:
    """Corners (N, A, 4), clipped to the image, computed as in `mnv2search.model.boxes.decoded`."""
    found = np.array(anchors(plan), np.float64)[None]
    centres, sides = found[..., :2], found[..., 2:]
    shape = (*graph.shape(places)[:2], 2)

    def with_each(kind: str, one: int, numbers: NDArray[np.float64]) -> int:
        return graph.operator(kind, [one, graph.array(numbers.astype(np.float32))], shape, activation=0)

    def at_most(one: int, most: float) -> int:
        return graph.operator("MINIMUM", [one, graph.array(np.array([most], np.float32))], shape)

    offsets = with_each("MUL", _slice(graph, places, 0, 2), sides / CODER_SCALES[:2])
    centre = with_each("ADD", offsets, centres)
    growth = with_each("MUL", _slice(graph, places, 2, 2), 1 / np.array(CODER_SCALES[2:]))
    growth = at_most(growth, math.log(MOST_GROWTH))
    half = with_each("MUL", graph.operator("EXP", [growth], shape), sides / 2)
    ends = [graph.operator(kind, [centre, half], shape, activation=RELU) for kind in ("SUB", "ADD")]
    return _beside(graph, [at_most(end, 1.0) for end in ends])


def _detections(graph: Graph, head: SsdLite, corners: int, scores: int) -> int:
    """The best detections after per-class suppression, (1, detections, 6), padded with zeros.

    The operator decodes boxes itself: its input are the decoded and clipped boxes as offsets from the whole image,
    with x and y exchanged, so that its output is in our order.
    """
    boxes = graph.shape(corners)[1]
    pair = (1, boxes, 2)
    low, high = _slice(graph, corners, 0, 2), _slice(graph, corners, 2, 2)
    half = graph.array(np.array([0.5], np.float32))
    centre = graph.operator("MUL", [graph.operator("ADD", [low, high], pair, activation=0), half], pair, activation=0)
    least = graph.array(np.array([SMALLEST_SIDE], np.float32))
    side = graph.operator("MAXIMUM", [graph.operator("SUB", [high, low], pair, activation=0), least], pair)
    encoded = _beside(graph, [centre, graph.operator("LOG", [side], pair)])
    whole = graph.array(np.tile(np.array([0, 0, 1, 1], np.float32), (boxes, 1)))
    most = head.detections
    told = {
        "max_detections": most,
        "max_classes_per_detection": 1,
        "detections_per_class": most,
        "use_regular_nms": True,
        "nms_score_threshold": head.score_threshold,
        "nms_iou_threshold": head.iou_threshold,
        "num_classes": head.classes,
    } | dict.fromkeys(("y_scale", "x_scale", "h_scale", "w_scale"), 1.0)
    outputs = [(1, most, 4), (1, most), (1, most), (1,)]
    found, classes, best, _ = graph.named(SUPPRESSION, [encoded, scores, whole], outputs, told)
    column = graph.integers(1, most, 1)
    columns = [graph.operator("RESHAPE", [one, column], (1, most, 1)) for one in (best, classes)]
    return _beside(graph, [found, *columns])
