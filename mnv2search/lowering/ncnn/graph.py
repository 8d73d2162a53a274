"""A builder of ncnn networks: layers connected by named blobs, and their concatenated weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from mnv2search.lowering.types import Floats

# The name that pnnx uses, so that its files load like ours.
INPUT = "in0"
OUTPUT = "out0"
CONVOLUTIONS = ("Convolution", "ConvolutionDepthWise")
# Source: Tencent/ncnn, docs/developer-guide/param-and-model-file-structure.md and src/modelbin.cpp.
MAGIC = 7767517
FLOAT32, INT8 = bytes(4), (0x000D4B38).to_bytes(4, "little")
ARRAY = -23300
# Keys of parameters. Source: Tencent/ncnn, docs/developer-guide/operators.md.
GROUPS, INT8_SCALES = 7, 8
# Values of `INT8_SCALES` besides 0. Source: Tencent/ncnn, tools/quantize/ncnn2int8.cpp.
PER_GROUP, PER_OUTPUT, REQUANTIZED = 1, 2, 100
HIGHEST, SIX_BITS = 127, 31
SMALLEST_RANGE = 1e-12

Value: TypeAlias = int | float | Sequence[int] | Sequence[float]
Params: TypeAlias = Mapping[int, Value]


@dataclass(slots=True)
class _Layer:
    """One line of the text, with the names of its input and output blobs, and its weights.

    `scales` is the kind of its int8 scales, 0 in single precision; `reads` is the scale that quantizes its input.
    """

    kind: str
    inputs: list[str]
    outputs: list[str]
    params: Params
    data: list[bytes | memoryview] = field(default_factory=list)
    scales: int = 0
    reads: float = 0.0


class Graph:
    """Layers in the order of computation, each with the names of its inputs and outputs."""

    def __init__(self) -> None:
        self._layers = [_Layer("Input", [], [INPUT], {})]

    def layer(
        self, kind: str, inputs: Sequence[str], params: Params | None = None, weights: Sequence[Floats] = ()
    ) -> str:
        """Add a layer, whose weights are stored without a flag; returns the name of its output."""
        name = str(len(self._layers))
        self._layers.append(_Layer(kind, list(inputs), [name], params or {}, [_raw(array) for array in weights]))
        return name

    def weighted(
        self, tensor: str, params: Params, weight: Floats, bias: Floats | None, *, groups: int, largest: float | None
    ) -> str:
        """Add a convolution, or an inner product for a weight (outputs, inputs); returns the name of its output.

        `params` has all parameters except groups and scales, `weight` is (outputs, inputs / groups, k, k), and
        `largest` is the largest input magnitude of a layer in eight-bit integers; None keeps single precision.
        """
        kind, scales, rows = "Convolution", PER_OUTPUT, weight.reshape(len(weight), -1)
        # The Winograd transform that ncnn uses for a 3x3 convolution needs two bits.
        # Source: Tencent/ncnn, tools/quantize/ncnn2table.cpp, `quant_6bit`.
        highest = SIX_BITS if [params.get(key) for key in (1, 2, 3)] == [3, 1, 1] else HIGHEST
        if weight.ndim == 2:
            kind, highest = "InnerProduct", HIGHEST
        elif groups > 1:
            kind, scales, rows, highest = "ConvolutionDepthWise", PER_GROUP, weight.reshape(groups, -1), HIGHEST
            params = {**params, GROUPS: groups}
        name = self.layer(kind, [tensor], params)
        layer, of_bias = self._layers[-1], [] if bias is None else [_raw(bias)]
        if largest is None:
            layer.data = [FLOAT32, _raw(rows), *of_bias]
            return name
        layer.scales, layer.reads = scales, HIGHEST / max(largest, SMALLEST_RANGE)
        factors = (highest / np.maximum(np.abs(rows).max(axis=1), SMALLEST_RANGE)).astype(np.float32)
        integers = np.rint(rows * factors[:, None]).astype(np.int8).tobytes()
        layer.data = [INT8, integers, bytes(-len(integers) % 4), *of_bias, _raw(factors), _raw_number(layer.reads)]
        return name

    def slices(self, tensor: str, sizes: Sequence[int], *, axis: int = 0) -> list[str]:
        """The names of the parts of a tensor split along an axis, by default along the channels."""
        name = self.layer("Slice", [tensor], {0: tuple(sizes), 1: axis})
        names = [f"{name}.{i}" for i in range(len(sizes))]
        self._layers[-1].outputs[:] = names
        return names

    def files(self) -> tuple[bytes, bytes]:
        """The text of the layers and the weights; the output of the last layer is the output of the network."""
        self._layers[-1].outputs[:] = [OUTPUT]
        layers = _split(_requantized(self._layers))
        blobs = sum(len(layer.outputs) for layer in layers)
        lines = [str(MAGIC), f"{len(layers)} {blobs}", *(_line(i, layer) for i, layer in enumerate(layers))]
        return "\n".join([*lines, ""]).encode(), b"".join(chunk for layer in layers for chunk in layer.data)


def _requantized(layers: list[_Layer]) -> list[_Layer]:
    """Make an int8 convolution write int8 at the scale of its reader, if only one other int8 convolution reads it.

    Source: Tencent/ncnn, tools/quantize/ncnn2int8.cpp, `fuse_requantize`.
    """
    readers: dict[str, list[_Layer]] = {}
    for layer in layers:
        for name in layer.inputs:
            readers.setdefault(name, []).append(layer)
    for layer in layers:
        after = readers.get(layer.outputs[0], [])
        pair = [layer, *after]
        if len(pair) == 2 and all(one.kind in CONVOLUTIONS and one.scales for one in pair):
            layer.scales += REQUANTIZED
            layer.data.append(_raw_number(after[0].reads))
    return layers


def _split(layers: list[_Layer]) -> list[_Layer]:
    """Add Split layers for blobs with several readers, because a blob may have only one reader."""
    readers = Counter(name for layer in layers for name in layer.inputs)
    taken: Counter[str] = Counter()
    found: list[_Layer] = []
    for layer in layers:
        for i, name in enumerate(layer.inputs):
            if readers[name] > 1:
                layer.inputs[i] = f"{name}_{taken[name]}"
                taken[name] += 1
        found.append(layer)
        for name in layer.outputs:
            if (count := readers[name]) > 1:
                parts = [f"{name}_{i}" for i in range(count)]
                found.append(_Layer("Split", [name], parts, {}))
    return found


def _line(place: int, layer: _Layer) -> str:
    values = {**layer.params, INT8_SCALES: layer.scales} if layer.scales else layer.params
    params = [_param(key, value) for key, value in values.items()]
    counts = f"{len(layer.inputs)} {len(layer.outputs)}"
    return " ".join([layer.kind, f"{layer.kind}_{place}", counts, *layer.inputs, *layer.outputs, *params])


def _param(key: int, value: Value) -> str:
    if isinstance(value, Sequence):
        return f"{ARRAY - key}={len(value)},{','.join(map(str, value))}"
    return f"{key}={value}"


def _raw(array: Floats) -> memoryview:
    return np.ascontiguousarray(array, np.float32).reshape(-1).view(np.uint8).data


def _raw_number(value: float) -> memoryview:
    return _raw(np.array([value], np.float32))
