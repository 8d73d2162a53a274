"""What heads of detectors and segmenters need channels last: other sizes, boxes and their suppression."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mnv2search.lowering.tflite.operators import RELU, Graph
from mnv2search.spec.heads.anchors import CODER_SCALES, MOST_GROWTH, anchors, anchors_per_map
from mnv2search.spec.model_spec import DeepLab, SsdLite
from mnv2search.spec.plan import Plan
from mnv2search.spec.size import Size

# LiteRT's operator for it, which is none of the vocabulary. Source: tensorflow/lite/kernels/detection_postprocess.cc.
SUPPRESSION = "TFLite_Detection_PostProcess"
# That operator refuses boxes without an inside, which those beside the image are once they are cut to it.
SMALLEST_SIDE = 1e-6
# Of the schema's TensorType.
INT64 = 4


def enlarged(graph: Graph, tensor: int, size: Size) -> int:
    """A map of another size, bilinear with corners on corners; the same map where it has it."""
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


def write_answer(graph: Graph, plan: Plan, known: Mapping[str, int]) -> int:
    """The number of what the head answers, in single precision; numbers of classes are 64-bit integers."""
    head = plan.spec.head
    if isinstance(head, SsdLite):
        return _boxes(graph, plan, head, known)
    assert isinstance(head, DeepLab)
    if head.output == "logits":
        return _real(graph, known["head/logits"])
    map_ = known["head/resized"]
    if head.output == "resized":
        return _real(graph, map_)
    return graph.places("ARG_MAX", [map_, graph.integers(3)], graph.shape(map_)[:3], numbers=INT64)


def _real(graph: Graph, tensor: int) -> int:
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
    """Every place of some maps (N, H, W, k * length) as rows (N, A, length), in single precision."""
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
    """Rows one after the other in their last axis."""
    shape = (*graph.shape(tensors[0])[:2], sum(graph.shape(tensor)[2] for tensor in tensors))
    return graph.operator("CONCATENATION", tensors, shape, axis=2, activation=0)


def _slice(graph: Graph, tensor: int, first: int, size: int) -> int:
    """Part of the last of three axes."""
    shape = (*graph.shape(tensor)[:2], size)
    return graph.operator("SLICE", [tensor, graph.integers(0, 0, first), graph.integers(*shape)], shape)


def _decoded(graph: Graph, plan: Plan, places: int) -> int:
    """Corners (N, A, 4) within the image; the arithmetic is that of `mnv2search.model.boxes.decoded`."""
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
    """The best of what is left after suppression, class by class: (1, detections, 6), filled up with zeros.

    The operator decodes boxes itself: it gets those that were decoded and cut to the image as offsets from the whole
    image, with x and y in each other's place, so that it gives them out in our order.
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
