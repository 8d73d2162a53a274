"""ncnn networks written directly from the plan, with the same layers as pnnx."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from mnv2search.lowering.emit import GROUP_NORM_EPS, Convolution, Emitter, emit, refuse_choice
from mnv2search.lowering.ncnn.graph import INPUT, Graph, Params
from mnv2search.lowering.quantize import Key, Ranges
from mnv2search.lowering.types import Floats, LayerArrays, NetworkArrays
from mnv2search.spec.heads.anchors import CODER_SCALES, MOST_GROWTH, anchors, anchors_per_map
from mnv2search.spec.model_spec import SsdLite
from mnv2search.spec.plan import GROUP_NORM_GROUPS, Layer, Plan
from mnv2search.spec.size import Size

# Keys and values of parameters. Source: Tencent/ncnn, docs/developer-guide/operators.md.
ADD, SUBTRACT, MULTIPLY = 0, 1, 2
BILINEAR = 2
EXPONENT = 7
# (C, H, W) to (H, W, C).
CHANNELS_LAST = 3
GLOBAL_AVERAGE: Params = {0: 1, 4: 1}
# Activations that pnnx 20261020 fuses into a convolution or an inner product.
FUSED: Mapping[str, Params] = {"relu": {9: 1}, "relu6": {9: 3, 10: (0.0, 6.0)}, "sigmoid": {9: 4}}
HARD: Params = {0: 1 / 6, 1: 0.5}
LAYERS: Mapping[str, tuple[str, Params]] = {
    "relu": ("ReLU", {}),
    "relu6": ("Clip", {0: 0.0, 1: 6.0}),
    "silu": ("Swish", {}),
    "hard_swish": ("HardSwish", HARD),
    "sigmoid": ("Sigmoid", {}),
    "hard_sigmoid": ("HardSigmoid", HARD),
}


def ncnn_files(
    plan: Plan, weights: NetworkArrays | None = None, *, ranges: Ranges | None = None
) -> tuple[bytes, bytes]:
    """The network as the text of its layers and its weights; maps `in0` (3, H, W) to `out0`, one image at a time.

    With the `ranges` of its tensors, convolutions and inner products are in eight-bit integers.

    Raises:
        OptionError: `weights` lack a layer of the plan, or the head selects boxes or classes, which ncnn does not do
            like other runtimes.
    """
    refuse_choice(plan.spec, "ncnn")
    emitter = _NcnnEmitter(ranges)
    _write_answer(emitter.graph, plan, emit(plan, weights, emitter))
    return emitter.graph.files()


class _NcnnEmitter(Emitter[str]):
    def __init__(self, ranges: Ranges | None) -> None:
        self.graph = Graph()
        self._ranges = ranges
        self._keys: dict[str, Key] = {}

    def is_cut(self, layer: Layer) -> bool:
        """Whether parts are separate; always in eight bits, where ncnn 1.0.20261020 fails for groups of 8 or more."""
        return len(set(layer.parts)) > (1 if self._ranges is None else 0)

    def image(self) -> str:
        return self._keyed(INPUT, (-1, "image"))

    def enlarged(self, tensor: str, own: Size, channels: int, size: Size) -> str:  # noqa: ARG002
        return self._keyed(_enlarged(self.graph, tensor, size), self._keys[tensor])

    def concatenated(self, tensors: list[str], key: Key) -> str:
        return self._keyed(self.graph.layer("Concat", tensors, {0: 0}), key)

    def slices(self, tensor: str, sizes: list[int]) -> Sequence[str]:
        return [self._keyed(part, self._keys[tensor]) for part in self.graph.slices(tensor, sizes)]

    def pooled(self, tensor: str, key: Key, *, flat: bool) -> str:  # noqa: ARG002
        return self._keyed(self.graph.layer("Pooling", [tensor], GLOBAL_AVERAGE), key)

    def spread(self, tensor: str, size: Size) -> str:
        return self._keyed(_enlarged(self.graph, tensor, size), self._keys[tensor])

    def gated(self, tensor: str, gate: str, key: Key) -> str:
        return self._keyed(self.graph.layer("BinaryOp", [tensor, gate], {0: MULTIPLY}), key)

    def added(self, shortcut: str, tensor: str, key: Key) -> str:
        return self._keyed(self.graph.layer("BinaryOp", [tensor, shortcut], {0: ADD}), key)

    def shrunk(self, tensor: str, stride: int, size: Size) -> str:  # noqa: ARG002
        return self.graph.layer("Pooling", [tensor], {0: 1, 1: stride, 2: stride})

    def widened(self, tensor: str, missing: int) -> str:
        return self.graph.layer("Padding", [tensor], {8: missing})

    def linear(self, arrays: LayerArrays, tensor: str, key: Key) -> str:
        return self._product(arrays.weight[0], arrays.bias, tensor, key, {})

    def convolution(self, convolution: Convolution, tensor: str, key: Key) -> str:
        """A convolution, or an inner product for a pooled map, which is a row."""
        layer, weight, bias = convolution.layer, convolution.weight, convolution.bias
        fused = {} if convolution.is_part else FUSED.get(convolution.activation, {})
        if convolution.is_vector:
            return self._product(weight, bias, tensor, key, fused)
        params: Params = {
            0: len(weight),
            1: layer.kernel,
            2: layer.dilation,
            3: layer.stride,
            4: layer.pad.left,
            15: layer.pad.right,
            14: layer.pad.top,
            16: layer.pad.bottom,
            5: int(bias is not None),
            6: weight.size,
            **fused,
        }
        groups, largest = convolution.groups, self._largest(tensor)
        return self._keyed(self.graph.weighted(tensor, params, weight, bias, groups=groups, largest=largest), key)

    def _product(self, weight: Floats, bias: Floats | None, tensor: str, key: Key, fused: Params) -> str:
        params: Params = {0: len(weight), 1: int(bias is not None), 2: weight.size, **fused}
        rows, largest = weight.reshape(len(weight), -1), self._largest(tensor)
        return self._keyed(self.graph.weighted(tensor, params, rows, bias, groups=1, largest=largest), key)

    def group_norm(self, layer: Layer, scale_shift: tuple[Floats, Floats], tensor: str, key: Key) -> str:
        params: Params = {0: GROUP_NORM_GROUPS, 1: layer.c_out, 2: GROUP_NORM_EPS, 3: 1}
        return self._keyed(self.graph.layer("GroupNorm", [tensor], params, scale_shift), key)

    def activated(self, layer: Layer, arrays: LayerArrays, tensor: str, key: Key) -> str:
        is_fused = layer.activation in FUSED and arrays.gamma is None and not self.is_cut(layer)
        if not is_fused and layer.activation != "none":
            kind, params = LAYERS[layer.activation]
            tensor = self.graph.layer(kind, [tensor], params)
        return self._keyed(tensor, key)

    def _keyed(self, tensor: str, key: Key) -> str:
        self._keys[tensor] = key
        return tensor

    def _largest(self, tensor: str) -> float | None:
        return None if self._ranges is None else max(map(abs, self._ranges[self._keys[tensor]]))


def _enlarged(graph: Graph, tensor: str, size: Size) -> str:
    """A map resized bilinearly with aligned corners; each number of a row is broadcast to a map."""
    return graph.layer("Interp", [tensor], {0: BILINEAR, 3: size.height, 4: size.width, 6: 1})


def _write_answer(graph: Graph, plan: Plan, known: Mapping[str, str]) -> None:
    """Add the layers after the units, the last of which computes the output.

    The last unit of `plan` was added last. For a network other than a detector, nothing is added.
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
    """Every position of the maps (k * length, H, W) as rows (A, length)."""
    last = [graph.layer("Permute", [tensor], {0: CHANNELS_LAST}) for tensor in tensors]
    rows = [graph.layer("Reshape", [tensor], {0: length, 1: -1}) for tensor in last]
    return rows[0] if len(rows) == 1 else graph.layer("Concat", rows, {0: 0})


def _beside(graph: Graph, tensors: Sequence[str]) -> str:
    """Concatenated rows."""
    return graph.layer("Concat", tensors, {0: 1})


def _columns(graph: Graph, rows: str, sizes: Sequence[int]) -> list[str]:
    return graph.slices(rows, sizes, axis=1)


def _decoded(graph: Graph, plan: Plan, places: str) -> list[str]:
    """Low and high corners (A, 2), clipped to the image; see `mnv2search.model.boxes.decoded`."""
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
