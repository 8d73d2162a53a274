"""ncnn networks written straight from the plan, layer by layer as pnnx writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mnv2search.errors import OptionError
from mnv2search.lowering.arbitrary import arbitrary_arrays
from mnv2search.lowering.fold import folded
from mnv2search.lowering.ncnn_graph import INPUT, Graph, Params
from mnv2search.lowering.ncnn_heads import enlarged, write_answer
from mnv2search.lowering.quantize import Key, Ranges
from mnv2search.lowering.support import refuse_choice
from mnv2search.lowering.types import Floats, LayerArrays, NetworkArrays
from mnv2search.spec.plan import GROUP_NORM_GROUPS, Layer, Plan, Unit
from mnv2search.spec.size import Size

__all__ = ["ncnn_files"]

# Keys and values of parameters. Source: Tencent/ncnn, docs/developer-guide/operators.md.
ADD, MULTIPLY = 0, 2
GLOBAL_AVERAGE: Params = {0: 1, 4: 1}
# Source: the default of torch.nn.GroupNorm.
GROUP_NORM_EPS = 1e-5
# Activations that a convolution or an inner product takes in, where pnnx 20261020 lets it.
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
    plan: Plan, weights: NetworkArrays | None = None, *, seed: int = 0, ranges: Ranges | None = None
) -> tuple[bytes, bytes]:
    """The network as the text of its layers and its weights; it maps `in0` (3, H, W) to `out0`, one image at a time.

    Args:
        plan: the network.
        weights: its arrays by (unit, layer); None takes arbitrary ones.
        seed: of the arbitrary ones.
        ranges: of its tensors, for convolutions and inner products in eight-bit integers; None keeps them in
            single precision.

    Raises:
        OptionError: `weights` lack a layer of the plan, or the head chooses among its answers, which ncnn cannot as
            others do.
    """
    refuse_choice(plan.spec, "ncnn")
    walk = _Walk(ranges)
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
    write_answer(walk.graph, plan, walk.known)
    return walk.graph.files()


class _Walk:
    """The graph in the making, the tensor that comes next with its range's name, and those that heads read."""

    def __init__(self, ranges: Ranges | None) -> None:
        self.graph = Graph()
        self._ranges = ranges
        self._tensor = INPUT
        self._key: Key = (-1, "image")
        # by the names of endpoints
        self.known: dict[str, str] = {}
        self._keys: dict[str, Key] = {}
        self._sizes: dict[str, Size] = {}

    def unit(self, index: int, unit: Unit, arrays: Sequence[LayerArrays]) -> None:
        """Add one unit."""
        if unit.reads:
            self._joined(index, unit)
        if unit.kind == "pooling":
            self._now(self.graph.layer("Pooling", [self._tensor], GLOBAL_AVERAGE), (index, "squeezed"))
        entry = gated = self._tensor
        for layer_index, (layer, of_layer) in enumerate(zip(unit.layers, arrays, strict=True)):
            if layer.role in ("squeeze", "classifier"):
                gated = self._tensor
                self._now(self.graph.layer("Pooling", [gated], GLOBAL_AVERAGE), (index, "squeezed"))
            pooled = unit.kind == "pooling"
            self._now(self._computed(layer, of_layer, pooled=pooled), (index, layer_index))
            self._note(unit, index, f"{layer.role}_output", layer.size_out)
            if layer.role == "excite":
                product = self.graph.layer("BinaryOp", [gated, self._tensor], {0: MULTIPLY})
                self._now(product, (index, "gated"))
        if unit.shortcut != "none":
            added = self.graph.layer("BinaryOp", [self._tensor, self._shortcut(unit, entry)], {0: ADD})
            self._now(added, (index, "sum"))
        if unit.kind == "pooling":
            self._tensor = enlarged(self.graph, self._tensor, unit.size_out)
        self._note(unit, index, "output", unit.size_out)
        self._note(unit, index, "", unit.size_out)

    def _note(self, unit: Unit, index: int, inside: str, size: Size) -> None:
        """Remember what comes next by the name of an endpoint."""
        name = unit.name or f"layer_{index + 1}"
        name = f"{name}/{inside}" if inside else name
        self.known[name], self._keys[name], self._sizes[name] = self._tensor, self._key, size

    def _joined(self, index: int, unit: Unit) -> None:
        """What a unit of a head reads: several side by side in channels, the smaller ones enlarged."""
        size = unit.size_out if unit.kind == "resize" else unit.size_in
        read = [
            self.known[name] if self._sizes[name] == size else enlarged(self.graph, self.known[name], size)
            for name in unit.reads
        ]
        if len(read) == 1:
            self._now(read[0], self._keys[unit.reads[0]])
        else:
            self._now(self.graph.layer("Concat", read, {0: 0}), (index, "joined"))

    def _now(self, tensor: str, key: Key) -> None:
        self._tensor, self._key = tensor, key

    @property
    def _largest(self) -> float | None:
        """Magnitude of what comes next, where there are ranges."""
        return None if self._ranges is None else max(map(abs, self._ranges[self._key]))

    def _shortcut(self, unit: Unit, tensor: str) -> str:
        """The unit's input, average-pooled and zero-padded in channels where the shapes ask for it."""
        if unit.stride > 1:
            tensor = self.graph.layer("Pooling", [tensor], {0: 1, 1: unit.stride, 2: unit.stride})
        if missing := unit.c_out - unit.c_in:
            tensor = self.graph.layer("Padding", [tensor], {8: missing})
        return tensor

    def _is_cut(self, layer: Layer) -> bool:
        """Whether the parts of a split convolution are layers of their own, and not groups of one.

        In eight bits they always are: ncnn 1.0.20261020 computes garbage for groups of eight channels or more.
        """
        return len(set(layer.parts)) > (1 if self._ranges is None else 0)

    def _computed(self, layer: Layer, arrays: LayerArrays, *, pooled: bool) -> str:
        """The layer with its norm and its activation; of a pooled map, which is a row, it is an inner product."""
        alone = not self._is_cut(layer) and arrays.gamma is None
        fused = FUSED.get(layer.activation) if alone else None
        tensor = self._convolution(layer, arrays, fused or {}, pooled=pooled)
        if arrays.gamma is not None and arrays.beta is not None:
            norm = {0: GROUP_NORM_GROUPS, 1: layer.c_out, 2: GROUP_NORM_EPS, 3: 1}
            tensor = self.graph.layer("GroupNorm", [tensor], norm, [arrays.gamma, arrays.beta])
        if fused is None and layer.activation != "none":
            kind, params = LAYERS[layer.activation]
            tensor = self.graph.layer(kind, [tensor], params)
        return tensor

    def _convolution(self, layer: Layer, arrays: LayerArrays, fused: Params, *, pooled: bool) -> str:
        if pooled or layer.role in ("squeeze", "excite", "classifier"):
            weight = arrays.weight[0]
            params = {0: layer.c_out, 1: int(arrays.bias is not None), 2: weight.size, **fused}
            return self.graph.inner_product(self._tensor, params, weight, arrays.bias, largest=self._largest)
        if not self._is_cut(layer):
            groups = layer.groups * max(1, len(layer.parts))
            weight = arrays.weight[0] if len(arrays.weight) == 1 else np.concatenate(arrays.weight)
            return self._one_convolution(layer, self._tensor, weight, arrays.bias, groups, fused)
        ends = np.cumsum([outputs for _, outputs in layer.parts])[:-1]
        biases = [None] * len(layer.parts) if arrays.bias is None else np.split(arrays.bias, ends)
        parts = self.graph.slices(self._tensor, [inputs for inputs, _ in layer.parts])
        done = [
            self._one_convolution(layer, part, weight, bias, 1, {})
            for part, weight, bias in zip(parts, arrays.weight, biases, strict=True)
        ]
        return self.graph.layer("Concat", done, {0: 0})

    def _one_convolution(
        self, layer: Layer, tensor: str, weight: Floats, bias: Floats | None, groups: int, fused: Params
    ) -> str:
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
        return self.graph.convolution(tensor, params, weight, bias, groups=groups, largest=self._largest)
