"""The parts of a plan: units and their layers."""

from __future__ import annotations

from typing import Literal, NamedTuple

from mnv2search.errors import SpecError
from mnv2search.spec.geometry import padded
from mnv2search.spec.rows import BlockSpec
from mnv2search.spec.rules import MAX_CHANNELS
from mnv2search.spec.size import Pad, Size

# Source: tensorflow/models, mobilenet_v2.py, `mobilenet_base_group_norm`.
GROUP_NORM_GROUPS = 8

BlockRole = Literal["expansion", "depthwise", "squeeze", "excite", "projection"]
HeadRole = Literal["classifier", "pointwise", "convolution", "predictor"]
Role = Literal["stem", "last"] | BlockRole | HeadRole
Shortcut = Literal["none", "identity", "pad"]
DetectorUnit = Literal["extra", "boxes", "scores"]
SegmenterUnit = Literal["pooling", "branch", "join", "tap", "decoder", "logits", "resize"]
UnitKind = Literal["stem", "block", "last", "classifier"] | DetectorUnit | SegmenterUnit
Parts = tuple[tuple[int, int], ...]
NO_PAD, POINT = Pad(0, 0, 0, 0), Size(1, 1)


class Layer(NamedTuple):
    """One convolution, or the classifier's linear layer, with its channels, size and options.

    A named tuple rather than a dataclass: a search plans millions of layers, and a named tuple is built three times
    faster.

    Attributes:
        role: purpose of the layer; a fused block's k x k convolution is its expansion. In the heads of detectors
            and segmenters, a `pointwise` has kernel 1, a `convolution` a larger kernel, and a `predictor` computes
            outputs of the network.
        kernel: side of the kernel in px.
        parts: (inputs, outputs) of each part of a split convolution; empty if the convolution is not split.
        normalizer: `batch`, `group` or `none`.
        activation: activation name, or `sigmoid` or `hard_sigmoid` for a gate.
    """

    role: Role
    c_in: int
    c_out: int
    kernel: int
    stride: int
    dilation: int
    groups: int
    parts: Parts
    pad: Pad
    size_in: Size
    size_out: Size
    bias: bool
    normalizer: str
    activation: str

    @property
    def weights(self) -> int:
        """The number of kernel weights, without bias and norm."""
        dense = sum(i * o for i, o in self.parts) if self.parts else self.c_in * self.c_out // self.groups
        return self.kernel * self.kernel * dense


class Unit(NamedTuple):
    """The stem, one block, the last convolution, or a part of the head.

    Attributes:
        kind: kind of the unit. A `classifier` and a `pooling` begin with a global average pool; a `pooling` then
            broadcasts its output over the map. A `resize` has no layers: it enlarges bilinearly with aligned corners.
        layers: layers in the order of computation; `squeeze` and `excite` act on the pooled hidden tensor, which is
            then multiplied by their result.
        stride: stride as built, after output-stride rewriting.
        shortcut: `identity`, `pad` (pooled and zero-padded input) or `none`.
        block: row of the unit, or None.
        name: name of a part of a detector or segmenter, such as ``head/extra_1``; else empty.
        reads: input endpoints, the smaller ones enlarged to the unit's size and all concatenated by channels; if
            empty, the unit reads the previous one.
    """

    kind: UnitKind
    layers: tuple[Layer, ...]
    c_in: int
    c_out: int
    size_in: Size
    size_out: Size
    stride: int
    shortcut: Shortcut
    block: BlockSpec | None
    name: str = ""
    reads: tuple[str, ...] = ()


class Style(NamedTuple):
    """Options common to the layers of a unit."""

    padding: str
    normalizer: str
    activation: str


class Window(NamedTuple):
    """Kernel, stride and dilation of a convolution."""

    kernel: int = 1
    stride: int = 1
    dilation: int = 1


ONE = Window()


def make_layer(
    role: Role,
    c_in: int,
    c_out: int,
    size: Size,
    style: Style,
    *,
    window: Window = ONE,
    groups: int = 1,
    parts: Parts = (),
) -> Layer:
    """The layer for an input map of `size`, padded as `style` says; a layer without a normalizer has a bias."""
    padding, normalizer, activation = style
    pad, out = (NO_PAD, size) if window is ONE else padded(padding, size, *window)
    numbers = (c_in, c_out, *window, groups, parts, pad, size, out)
    return Layer(role, *numbers, normalizer == "none", normalizer, activation)


def pointwise(c_in: int, c_out: int, size: Size, style: Style) -> Layer:
    """A 1x1 convolution."""
    return make_layer("pointwise", c_in, c_out, size, style)


def depthwise(channels: int, window: Window, size: Size, style: Style) -> Layer:
    """A depthwise convolution."""
    return make_layer("depthwise", channels, channels, size, style, groups=channels, window=window)


def whole(c_in: int, c_out: int, window: Window, size: Size, style: Style) -> Layer:
    """An ordinary convolution."""
    return make_layer("convolution", c_in, c_out, size, style, window=window)


def predictor(c_in: int, c_out: int, window: Window, size: Size, style: Style) -> Layer:
    """A convolution with bias and without norm, whose output is an output of the network."""
    return make_layer("predictor", c_in, c_out, size, Style(style.padding, "none", "none"), window=window)


def check_unit(unit: Unit) -> Unit:
    """The unit itself, after checks that its layers are within limits and can run.

    Raises:
        SpecError: a layer has too many channels, or a group norm whose groups have a single value.
    """
    for layer in unit.layers:
        if problem := _layer_problem(layer):
            what, fix = problem
            raise SpecError.of(at="", what=f"its {layer.role} has {what}", fix=fix)
    return unit


def _layer_problem(layer: Layer) -> tuple[str, str] | None:
    # The classifier's outputs are classes, which have a separate limit.
    channels = layer.c_in if layer.role == "classifier" else max(layer.c_in, layer.c_out)
    if channels > MAX_CHANNELS:
        return f"{channels} channels", f"at most {MAX_CHANNELS} are planned: use less width, expansion or channels"
    if layer.normalizer != "group":
        return None
    if layer.c_out % GROUP_NORM_GROUPS:
        fix = f"group norm needs multiples of {GROUP_NORM_GROUPS}: use channel_divisor 8"
        return f"{layer.c_out} channels under group norm", fix
    if layer.c_out == GROUP_NORM_GROUPS and layer.size_out.area == 1:
        fix = f"use more than {GROUP_NORM_GROUPS} channels, a larger resolution, or another normalizer"
        return "one value in every group of its group norm", fix
    return None
