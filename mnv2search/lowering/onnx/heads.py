"""The answer of a detector or segmenter in an ONNX graph: boxes and their suppression, classes of pixels."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from mnv2search.lowering.onnx.graph import Graph
from mnv2search.spec.heads.anchors import CODER_SCALES, MOST_GROWTH, anchors, anchors_per_map
from mnv2search.spec.heads.outputs import is_of_classes
from mnv2search.spec.model_spec import SsdLite
from mnv2search.spec.plan import Plan


def write_answer(graph: Graph, plan: Plan, known: Mapping[str, str]) -> None:
    """Add what stands behind the units: the last node computes the answer."""
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
    """Corners (N, A, 4) within the image; the arithmetic is that of `mnv2search.model.boxes.decoded`."""
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
    """The best of what is left after suppression, class by class: (N, detections, 6), filled up with zeros."""
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
