"""ONNX graphs written directly from the plan, without a framework or tracing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from onnx import TensorProto, ValueInfoProto, helper

from mnv2search.lowering.emit import GROUP_NORM_EPS, RELUS, Convolution, Emitter, emit
from mnv2search.lowering.onnx.graph import Graph
from mnv2search.lowering.quantize import Key
from mnv2search.lowering.types import Floats, LayerArrays, NetworkArrays
from mnv2search.spec.heads.anchors import CODER_SCALES, MOST_GROWTH, anchors, anchors_per_map
from mnv2search.spec.heads.outputs import answer_shape, is_of_classes
from mnv2search.spec.model_spec import SsdLite
from mnv2search.spec.plan import GROUP_NORM_GROUPS, Layer, Plan
from mnv2search.spec.size import Size

INPUT = "image"
OUTPUT = "output"
# Pixels beyond the wanted size: the standard rounds the product of side and factor down.
BEYOND = 0.5
OPERATORS = {"relu": "Relu", "hard_swish": "HardSwish", "sigmoid": "Sigmoid"}


def onnx_bytes(
    plan: Plan, weights: NetworkArrays | None = None, *, batch: int | None = 1, gemm: bool = False
) -> bytes:
    """The network as a serialised ONNX model that maps `image` (N, 3, S, S) to `output`.

    If `batch` is None, any number of images is accepted. With `gemm`, the classifier is a Gemm, which is faster in
    OpenVINO, instead of a convolution, which is faster in ONNX Runtime.

    Raises:
        OptionError: `weights` lack a layer of the plan.
    """
    return onnx_model(plan, weights, graph=Graph(gemm=gemm), batch=batch).serialised()


def onnx_model(
    plan: Plan,
    weights: NetworkArrays | None = None,
    *,
    graph: Graph | None = None,
    batch: int | None = 1,
    show: bool = False,
) -> Graph:
    """The network, added to the empty `graph`; see `onnx_bytes`.

    With `show`, every tensor passed to `keep` is an output too.
    """
    graph = graph or Graph()
    known = emit(plan, weights, _OnnxEmitter(graph, batch))
    if plan.dense:
        _write_answer(graph, plan, known)
    graph.finish(OUTPUT)
    images: int | str = "N" if batch is None else batch
    kind = TensorProto.INT64 if is_of_classes(plan) else TensorProto.FLOAT
    made = graph.model.graph
    made.name = plan.spec.name
    made.input.append(helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [images, 3, *plan.spec.size]))
    made.output.append(helper.make_tensor_value_info(OUTPUT, kind, [images, *answer_shape(plan)]))
    if show:
        shown = dict.fromkeys(name for name in graph.kept.values() if name not in (INPUT, OUTPUT))
        made.output.extend(ValueInfoProto(name=name) for name in shown)
    return graph


class _OnnxEmitter(Emitter[str]):
    def __init__(self, graph: Graph, batch: int | None) -> None:
        self.graph = graph
        self._batch = batch

    def begin(self, name: str) -> None:
        self.graph.prefix = name

    def keep(self, key: Key, tensor: str) -> str:
        return self.graph.keep(key, tensor)

    def image(self) -> str:
        return self.keep((-1, "image"), INPUT)

    def enlarged(self, tensor: str, own: Size, channels: int, size: Size) -> str:
        modes = {"mode": "linear", "coordinate_transformation_mode": "align_corners"}
        if self._batch is None:
            factors = [(side + BEYOND) / before for side, before in zip(size, own, strict=True)]
            inputs = [tensor, "", self.graph.array(np.array([1, 1, *factors], np.float32))]
        else:
            inputs = [tensor, "", "", self.graph.integers(self._batch, channels, *size)]
        return self.graph.node("Resize", inputs, **modes)

    def concatenated(self, tensors: list[str], key: Key) -> str:  # noqa: ARG002
        return self.graph.node("Concat", tensors, axis=1)

    def slices(self, tensor: str, sizes: list[int]) -> Sequence[str]:
        return self.graph.split(tensor, sizes)

    def pooled(self, tensor: str, key: Key, *, flat: bool) -> str:
        pooled = self.keep(key, self.graph.node("GlobalAveragePool", [tensor]))
        return self.keep(key, self.graph.node("Flatten", [pooled])) if flat and self.graph.gemm else pooled

    def spread(self, tensor: str, size: Size) -> str:
        return self.graph.node("Expand", [tensor, self.graph.integers(1, 1, *size)])

    def gated(self, tensor: str, gate: str, key: Key) -> str:
        return self.keep(key, self.graph.node("Mul", [tensor, gate]))

    def added(self, shortcut: str, tensor: str, key: Key) -> str:
        return self.keep(key, self.graph.node("Add", [shortcut, tensor]))

    def shrunk(self, tensor: str, stride: int, size: Size) -> str:  # noqa: ARG002
        window = [stride, stride]
        return self.graph.node("AveragePool", [tensor], kernel_shape=window, strides=window, ceil_mode=1)

    def widened(self, tensor: str, missing: int) -> str:
        return self.graph.node("Pad", [tensor, self.graph.integers(0, 0, 0, 0, 0, missing, 0, 0)])

    def linear(self, arrays: LayerArrays, tensor: str, key: Key) -> str:
        """A 1x1 convolution of the pooled map, as in slim, or a Gemm."""
        weight = arrays.weight[0]
        if self.graph.gemm:
            inputs = [tensor, *self.graph.constants(tensor, weight, arrays.bias)]
            return self.keep(key, self.graph.node("Gemm", inputs, transB=1))
        inputs = [tensor, *self.graph.constants(tensor, weight.reshape(*weight.shape, 1, 1), arrays.bias)]
        return self.graph.node("Flatten", [self.keep(key, self.graph.node("Conv", inputs, kernel_shape=[1, 1]))])

    def convolution(self, convolution: Convolution, tensor: str, key: Key) -> str:
        layer = convolution.layer
        made = self.graph.node(
            "Conv",
            [tensor, *self.graph.constants(tensor, convolution.weight, convolution.bias)],
            kernel_shape=[layer.kernel] * 2,
            strides=[layer.stride] * 2,
            dilations=[layer.dilation] * 2,
            pads=[layer.pad.top, layer.pad.left, layer.pad.bottom, layer.pad.right],
            group=convolution.groups,
        )
        return self.keep(key, made) if convolution.is_part else made

    def group_norm(self, layer: Layer, scale_shift: tuple[Floats, Floats], tensor: str, key: Key) -> str:  # noqa: ARG002
        """An instance norm over groups, because the group norm operator requires opset 18."""
        graph, (scale, shift) = self.graph, scale_shift
        groups, maps = graph.integers(0, GROUP_NORM_GROUPS, -1), graph.integers(0, layer.c_out, *layer.size_out)
        one, zero = np.ones(GROUP_NORM_GROUPS, np.float32), np.zeros(GROUP_NORM_GROUPS, np.float32)
        tensor = graph.node("Reshape", [tensor, groups])
        tensor = graph.node(
            "InstanceNormalization", [tensor, graph.array(one), graph.array(zero)], epsilon=GROUP_NORM_EPS
        )
        tensor = graph.node("Reshape", [tensor, maps])
        tensor = graph.node("Mul", [tensor, graph.array(scale.reshape(-1, 1, 1))])
        return graph.node("Add", [tensor, graph.array(shift.reshape(-1, 1, 1))])

    def activated(self, layer: Layer, arrays: LayerArrays, tensor: str, key: Key) -> str:  # noqa: ARG002
        graph, activation, (unit, i) = self.graph, layer.activation, key
        if activation not in RELUS:
            tensor = self.keep((unit, f"{i}.linear"), tensor)
        elif activation == "none" or graph.cuts(key):
            return self.keep(key, tensor)
        if activation == "relu6":
            low, high = graph.array(np.array(0, np.float32)), graph.array(np.array(6, np.float32))
            tensor = graph.node("Clip", [tensor, low, high])
        elif activation == "silu":
            sigmoid = self.keep((unit, f"{i}.sigmoid"), graph.node("Sigmoid", [tensor]))
            tensor = graph.node("Mul", [tensor, sigmoid])
        elif activation == "hard_sigmoid":
            tensor = graph.node("HardSigmoid", [tensor], alpha=1 / 6, beta=0.5)
        else:
            tensor = graph.node(OPERATORS[activation], [tensor])
        return self.keep(key, tensor)


def _write_answer(graph: Graph, plan: Plan, known: Mapping[str, str]) -> None:
    head = plan.spec.head
    graph.prefix = "answer"
    if isinstance(head, SsdLite):
        _write_boxes(graph, plan, head, known)
    elif is_of_classes(plan):
        graph.node("ArgMax", [known["head/resized"]], axis=1, keepdims=0)


def _write_boxes(graph: Graph, plan: Plan, head: SsdLite, known: Mapping[str, str]) -> None:
    maps = range(1, len(anchors_per_map(plan)) + 1)
    places = graph.node("Concat", [_rows(graph, known[f"head/boxes_{i}"], 4) for i in maps], axis=1)
    logits = [_rows(graph, known[f"head/scores_{i}"], head.classes + 1) for i in maps]
    scores = graph.node("Concat", logits, axis=1)
    if head.output == "raw":
        graph.node("Concat", [places, scores], axis=2)
        return
    corners = _decoded(graph, plan, places)
    scores = graph.node("Sigmoid", [_slice(graph, scores, 1, head.classes + 1)])
    if head.output == "boxes":
        graph.node("Concat", [corners, scores], axis=2)
        return
    _write_detections(graph, head, sum(anchors_per_map(plan)), corners, scores)


def _rows(graph: Graph, tensor: str, length: int) -> str:
    """(N, H * W * k, length) of a map (N, k * length, H, W)."""
    last = graph.node("Transpose", [tensor], perm=[0, 2, 3, 1])
    return graph.node("Reshape", [last, graph.integers(0, -1, length)])


def _slice(graph: Graph, tensor: str, start: int, end: int) -> str:
    """Part of the last of three axes."""
    bounds = [graph.integers(value) for value in (start, end, 2)]
    return graph.node("Slice", [tensor, *bounds])


def _decoded(graph: Graph, plan: Plan, places: str) -> str:
    """Corners (N, A, 4), clipped to the image, computed as in `mnv2search.model.boxes.decoded`."""
    boxes = np.array(anchors(plan), np.float32)
    centres, sides = graph.array(boxes[None, :, :2]), graph.array(boxes[None, :, 2:])
    unscaled = graph.node("Div", [places, graph.array(np.array(CODER_SCALES, np.float32))])
    most = graph.array(np.array(math.log(MOST_GROWTH), np.float32))
    growth = graph.node("Exp", [graph.node("Min", [_slice(graph, unscaled, 2, 4), most])])
    half = graph.node("Mul", [graph.node("Mul", [growth, sides]), graph.array(np.array(0.5, np.float32))])
    centre = graph.node("Add", [graph.node("Mul", [_slice(graph, unscaled, 0, 2), sides]), centres])
    ends = [graph.node("Sub", [centre, half]), graph.node("Add", [centre, half])]
    bounds = [graph.array(np.array(value, np.float32)) for value in (0, 1)]
    return graph.node("Clip", [graph.node("Concat", ends, axis=2), *bounds])


def _write_detections(graph: Graph, head: SsdLite, boxes: int, corners: str, scores: str) -> None:
    """The best detections after per-class suppression, (N, detections, 6), padded with zeros."""
    by_class = graph.node("Transpose", [scores], perm=[0, 2, 1])
    limits = [
        graph.array(np.array(head.detections, np.int64)),
        graph.array(np.array(head.iou_threshold, np.float32)),
        graph.array(np.array(head.score_threshold, np.float32)),
    ]
    chosen = graph.node("NonMaxSuppression", [corners, by_class, *limits])
    nothing = graph.node("Mul", [by_class, graph.array(np.array(0, np.float32))])
    kept = graph.node("ScatterND", [nothing, chosen, graph.node("GatherND", [by_class, chosen])])
    flat = graph.node("Reshape", [kept, graph.integers(0, -1)])
    count = min(head.detections, boxes * head.classes)
    best, at = graph.outputs("TopK", [flat, graph.integers(count)], 2, axis=1)
    whole = graph.array(np.array(boxes, np.int64))
    last = graph.integers(2)
    place = graph.node("Unsqueeze", [graph.node("Mod", [at, whole]), last])
    number = graph.node("Cast", [graph.node("Div", [at, whole])], to=1)
    column = graph.node("Unsqueeze", [best, last])
    there = graph.node("Cast", [graph.node("Greater", [column, graph.array(np.array(0, np.float32))])], to=1)
    found = [graph.node("GatherND", [corners, place], batch_dims=1), column, graph.node("Unsqueeze", [number, last])]
    rows = graph.node("Mul", [graph.node("Concat", found, axis=2), there])
    if count < head.detections:
        pads = [0, 0, 0, 0, head.detections - count, 0]
        graph.node("Pad", [rows, graph.integers(*pads)])
