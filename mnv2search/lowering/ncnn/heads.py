"""What heads of detectors and segmenters need in an ncnn network: other sizes and boxes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from mnv2search.lowering.ncnn.graph import Graph
from mnv2search.lowering.types import Floats
from mnv2search.spec.heads.anchors import CODER_SCALES, MOST_GROWTH, anchors, anchors_per_map
from mnv2search.spec.model_spec import SsdLite
from mnv2search.spec.plan import Plan
from mnv2search.spec.size import Size

# Values of parameters. Source: Tencent/ncnn, docs/developer-guide/operators.md.
ADD, SUBTRACT, MULTIPLY = 0, 1, 2
BILINEAR = 2
EXPONENT = 7
# (C, H, W) to (H, W, C).
CHANNELS_LAST = 3


def enlarged(graph: Graph, tensor: str, size: Size) -> str:
    """A map of another size, bilinear with corners on corners; of a row of numbers, each spread over a map."""
    return graph.layer("Interp", [tensor], {0: BILINEAR, 3: size.height, 4: size.width, 6: 1})


def write_answer(graph: Graph, plan: Plan, known: Mapping[str, str]) -> None:
    """Add what stands behind the units: the last layer computes the answer.

    The last unit of `plan` was added last. Of a network that does not detect nothing is added.
    """
    head = plan.spec.head
    if not isinstance(head, SsdLite):
        return
    maps = range(1, len(anchors_per_map(plan)) + 1)
    places = _rows(graph, [known[f"head/boxes_{i}"] for i in maps], 4)
    logits = _rows(graph, [known[f"head/scores_{i}"] for i in maps], head.classes + 1)
    if head.output == "raw":
        _beside(graph, [places, logits])
        return
    _, objects = _columns(graph, logits, [1, head.classes])
    _beside(graph, [*_decoded(graph, plan, places), graph.layer("Sigmoid", [objects])])


def _rows(graph: Graph, tensors: Sequence[str], length: int) -> str:
    """Every place of some maps (k * length, H, W) as rows (A, length)."""
    last = [graph.layer("Permute", [tensor], {0: CHANNELS_LAST}) for tensor in tensors]
    rows = [graph.layer("Reshape", [tensor], {0: length, 1: -1}) for tensor in last]
    return rows[0] if len(rows) == 1 else graph.layer("Concat", rows, {0: 0})


def _beside(graph: Graph, tensors: Sequence[str]) -> str:
    """Rows one after the other."""
    return graph.layer("Concat", tensors, {0: 1})


def _columns(graph: Graph, rows: str, sizes: Sequence[int]) -> list[str]:
    return graph.slices(rows, sizes, axis=1)


def _decoded(graph: Graph, plan: Plan, places: str) -> list[str]:
    """Low and high corners (A, 2) within the image; see `mnv2search.model.boxes.decoded`."""
    found = np.array(anchors(plan), np.float64)
    centres, sides = found[:, :2], found[:, 2:]
    offsets, growth = _columns(graph, places, [2, 2])

    def with_each(operation: int, tensor: str, numbers: Floats) -> str:
        stored = graph.layer("MemoryData", [], {0: 2, 1: len(numbers)}, [numbers])
        return graph.layer("BinaryOp", [tensor, stored], {0: operation})

    offsets = with_each(MULTIPLY, offsets, (sides / CODER_SCALES[:2]).astype(np.float32))
    centre = with_each(ADD, offsets, centres.astype(np.float32))
    assert CODER_SCALES[2] == CODER_SCALES[3]
    growth = graph.layer("BinaryOp", [growth], {0: MULTIPLY, 1: 1, 2: 1 / CODER_SCALES[2]})
    growth = graph.layer("Clip", [growth], {1: math.log(MOST_GROWTH)})
    growth = graph.layer("UnaryOp", [growth], {0: EXPONENT})
    half = with_each(MULTIPLY, growth, (sides / 2).astype(np.float32))
    ends = [graph.layer("BinaryOp", [centre, half], {0: operation}) for operation in (SUBTRACT, ADD)]
    return [graph.layer("Clip", [end], {0: 0.0, 1: 1.0}) for end in ends]
