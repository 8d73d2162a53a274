"""The traversal of a plan that all file writers share: units, layers, joins, gates and shortcuts in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from mnv2search.errors import OptionError
from mnv2search.lowering.arrays import arbitrary_arrays, folded
from mnv2search.lowering.quantize import Key
from mnv2search.lowering.types import Floats, LayerArrays, NetworkArrays
from mnv2search.spec.model_spec import DeepLab, ModelSpec, SsdLite
from mnv2search.spec.plan import Layer, Plan, Unit
from mnv2search.spec.size import Size

# Source: the default of torch.nn.GroupNorm.
GROUP_NORM_EPS = 1e-5
# Activations that at most clip a tensor to its range.
RELUS = ("none", "relu", "relu6")

T = TypeVar("T")


class Convolution(NamedTuple):
    """A convolution, or one part of a split one; its weight is (outputs, inputs / groups, k, k).

    `activation` can be fused with the convolution, and is none if a norm is in between; `is_vector` means that the
    input is a pooled map.
    """

    layer: Layer
    weight: Floats
    bias: Floats | None
    groups: int
    activation: str
    is_part: bool
    is_vector: bool


class Emitter(Protocol[T]):
    """A builder that adds the steps of a network to a file; `T` represents a tensor.

    A `key` names the range of a step's output; see `mnv2search.lowering.ranges.ranges_of`.
    """

    def begin(self, name: str) -> None:
        """Begin a unit, named ``layer_3``, ``classifier`` or as in its head."""
        del name  # most files have no names for units

    def keep(self, key: Key, tensor: T) -> T:  # noqa: ARG002
        """The tensor after the operations that its range requires."""
        return tensor

    def aligned(self, tensor: T, key: Key) -> T:  # noqa: ARG002
        """A tensor prepared for concatenation with others."""
        return tensor

    def is_cut(self, layer: Layer) -> bool:
        """Whether the parts of a split convolution are separate convolutions instead of groups of one."""
        return len(set(layer.parts)) > 1

    def image(self) -> T:
        """The input."""

    def enlarged(self, tensor: T, own: Size, channels: int, size: Size) -> T:
        """A map of `own` size resized to `size`, bilinearly with aligned corners."""

    def concatenated(self, tensors: list[T], key: Key) -> T:
        """Maps concatenated by channels."""

    def slices(self, tensor: T, sizes: list[int]) -> Iterable[T]:
        """The parts of a map split along its channels."""

    def pooled(self, tensor: T, key: Key, *, flat: bool) -> T:
        """The global average pool; `flat` only for the classifier."""

    def spread(self, tensor: T, size: Size) -> T:
        """A pooled map broadcast to a size."""

    def gated(self, tensor: T, gate: T, key: Key) -> T:
        """A map with each channel multiplied."""

    def added(self, shortcut: T, tensor: T, key: Key) -> T:
        """The sum of a block's input and its output."""

    def shrunk(self, tensor: T, stride: int, size: Size) -> T:
        """A map average-pooled over windows of `stride`, to `size`."""

    def widened(self, tensor: T, missing: int) -> T:
        """A map with `missing` additional channels of zeros."""

    def linear(self, arrays: LayerArrays, tensor: T, key: Key) -> T:
        """The classifier on pooled features."""

    def convolution(self, convolution: Convolution, tensor: T, key: Key) -> T:
        """A convolution; a part of a split one has the key of the whole."""

    def group_norm(self, layer: Layer, scale_shift: tuple[Floats, Floats], tensor: T, key: Key) -> T:
        """A group norm of a tensor after `keep`; the key is that of its output."""

    def activated(self, layer: Layer, arrays: LayerArrays, tensor: T, key: Key) -> T:
        """The activation of a layer, followed by `keep`; an activation fused into a convolution is omitted."""


def emit(plan: Plan, weights: NetworkArrays | None, emitter: Emitter[T]) -> dict[str, T]:
    """Emit a network; returns its tensors by the names of endpoints, with the network's output last.

    Batch norm is folded into the convolutions; if `weights` is None, arbitrary weights are used.

    Raises:
        OptionError: `weights` lack a layer of the plan.
    """
    walk = _Walk(emitter, emitter.image())
    arrays = _layer_arrays(plan, weights)
    for index, unit in enumerate(plan.units):
        walk.unit(index, unit, [next(arrays) for _ in unit.layers])
    return {name: one.tensor for name, one in walk.known.items()}


def _layer_arrays(plan: Plan, weights: NetworkArrays | None) -> Iterator[LayerArrays]:
    place = 0
    for unit_index, unit in enumerate(plan.units):
        for layer_index, layer in enumerate(unit.layers):
            if weights is None:
                found = arbitrary_arrays(layer, place=place, fold=True)
            elif (unit_index, layer_index) in weights:
                found = weights[unit_index, layer_index]
            else:
                raise OptionError(f"the weights lack {plan.at[unit_index]}, layer {layer_index} ({layer.role})")
            place += 1
            yield folded(found, eps=plan.norm_of(unit).eps)


class _Known(NamedTuple, Generic[T]):
    tensor: T
    channels: int
    size: Size


@dataclass(slots=True)
class _Walk(Generic[T]):
    emitter: Emitter[T]
    tensor: T
    index: int = -1
    known: dict[str, _Known[T]] = field(default_factory=dict)

    def unit(self, index: int, unit: Unit, arrays: list[LayerArrays]) -> None:
        emitter, self.index = self.emitter, index
        name = unit.name or f"layer_{index + 1}"
        emitter.begin("classifier" if unit.kind == "classifier" else name)
        if unit.reads:
            self.tensor = self._joined(unit)
        if unit.kind == "pooling":
            self.tensor = emitter.pooled(self.tensor, (index, "squeezed"), flat=False)
        entry = gated = self.tensor
        for i, (layer, of_layer) in enumerate(zip(unit.layers, arrays, strict=True)):
            if layer.role in ("squeeze", "classifier"):
                gated = self.tensor
                self.tensor = emitter.pooled(gated, (index, "squeezed"), flat=layer.role == "classifier")
            self.tensor = self._layer(unit, i, of_layer)
            self.known[f"{name}/{layer.role}_output"] = _Known(self.tensor, layer.c_out, layer.size_out)
            if layer.role == "excite":
                self.tensor = emitter.gated(gated, self.tensor, (index, "gated"))
        if unit.kind == "pooling":
            self.tensor = emitter.spread(self.tensor, unit.size_out)
        elif unit.shortcut != "none":
            self.tensor = emitter.added(self._shortcut(unit, entry), self.tensor, (index, "sum"))
        self.known[f"{name}/output"] = self.known[name] = _Known(self.tensor, unit.c_out, unit.size_out)

    def _joined(self, unit: Unit) -> T:
        """The input of a head's unit: its maps concatenated by channels, the smaller ones enlarged."""
        size, key = unit.size_out if unit.kind == "resize" else unit.size_in, (self.index, "joined")
        read = [self.known[name] for name in unit.reads]
        if len(read) > 1:
            read = [one._replace(tensor=self.emitter.aligned(one.tensor, key)) for one in read]
        tensors = [
            tensor if own == size else self.emitter.enlarged(tensor, own, channels, size)
            for tensor, channels, own in read
        ]
        return tensors[0] if len(read) == 1 else self.emitter.keep(key, self.emitter.concatenated(tensors, key))

    def _shortcut(self, unit: Unit, tensor: T) -> T:
        """The unit's input, average-pooled and zero-padded in channels if the shapes differ."""
        if unit.shortcut == "identity":
            return tensor
        if unit.stride > 1:
            tensor = self.emitter.shrunk(tensor, unit.stride, unit.size_out)
        if missing := unit.c_out - unit.c_in:
            tensor = self.emitter.widened(tensor, missing)
        return self.emitter.keep((self.index, "shortcut"), tensor)

    def _layer(self, unit: Unit, i: int, arrays: LayerArrays) -> T:
        emitter, layer = self.emitter, unit.layers[i]
        made: Key = (self.index, i)
        if layer.role == "classifier":
            return emitter.linear(arrays, self.tensor, made)
        linear: Key = made if layer.activation in RELUS else (self.index, f"{i}.linear")
        is_vector = unit.kind == "pooling" or layer.role in ("squeeze", "excite")
        if arrays.gamma is None:
            tensor = self._convolution(layer, arrays, linear, layer.activation, is_vector=is_vector)
        else:
            bare: Key = (self.index, f"{i}.convolution")
            tensor = emitter.keep(bare, self._convolution(layer, arrays, bare, "none", is_vector=is_vector))
            assert arrays.beta is not None
            tensor = emitter.group_norm(layer, (arrays.gamma, arrays.beta), tensor, linear)
        return emitter.activated(layer, arrays, tensor, made)

    def _convolution(self, layer: Layer, arrays: LayerArrays, key: Key, activation: str, *, is_vector: bool) -> T:
        """The convolution, in separate parts if they are unequal."""
        emitter, weights = self.emitter, arrays.weight
        if len(weights) > 1 and not emitter.is_cut(layer):
            weights = (np.concatenate(weights),)
        if len(weights) == 1:
            groups = layer.groups * max(1, len(layer.parts))
            whole = Convolution(layer, weights[0], arrays.bias, groups, activation, False, is_vector)
            return emitter.convolution(whole, self.tensor, key)
        ends = np.cumsum([outputs for _, outputs in layer.parts])[:-1]
        biases = [None] * len(weights) if arrays.bias is None else np.split(arrays.bias, ends)
        slices = emitter.slices(self.tensor, [inputs for inputs, _ in layer.parts])
        done = [
            emitter.convolution(Convolution(layer, weight, bias, 1, activation, True, is_vector), part, key)
            for weight, bias, part in zip(weights, biases, slices, strict=True)
        ]
        return emitter.concatenated(done, key)


def refuse_choice(spec: ModelSpec, what: str) -> None:
    """Refuse a network with non-maximum suppression, or with the class of each pixel as output.

    `what` names the kind of file, such as ``ncnn``.

    Raises:
        OptionError: the head's output is ``detections`` or ``classes``.
    """
    head = spec.head
    if isinstance(head, SsdLite) and head.output == "detections":
        raise OptionError(
            f"{what} does not support the non-maximum suppression of {spec.name}",
            hint="request boxes (--head-output boxes) and suppress outside of it; .onnx and .tflite support it",
        )
    if isinstance(head, DeepLab) and head.output == "classes":
        raise OptionError(
            f"{what} does not support choosing the class of each pixel of {spec.name}",
            hint="request resized logits (--head-output resized) and take the highest outside of it; .onnx and "
            ".tflite support the choice",
        )
