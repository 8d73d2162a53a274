"""Layer-by-layer layout of the feature units: channels, sizes, strides, paddings and shortcuts."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from mnv2search.errors import SpecError
from mnv2search.spec.geometry import make_divisible, split_channels
from mnv2search.spec.layers import (
    ONE,
    POINT,
    Layer,
    Parts,
    Role,
    Shortcut,
    Style,
    Unit,
    Window,
    check_unit,
    make_layer,
)
from mnv2search.spec.rows import BlockSpec
from mnv2search.spec.size import Size

# name -> (hidden channels over squeezed channels, gate); Source: slim's squeeze_excite and mobilenet_v3.py.
TRANSFORMS = {"squeeze_excite": (3, "sigmoid"), "squeeze_excite_v3": (4, "hard_sigmoid")}


@lru_cache(maxsize=4096)
def plain_unit(
    kind: Literal["stem", "last"],
    c_in: int,
    c_out: int,
    kernel: int,
    stride: int,
    dilation: int,
    size: Size,
    style: Style,
) -> Unit:
    """The stem or the last convolution."""
    layer = make_layer(kind, c_in, c_out, size, style, window=Window(kernel, stride, dilation))
    return check_unit(Unit(kind, (layer,), c_in, c_out, size, layer.size_out, stride, "none", None))


@lru_cache(maxsize=4096)
def classifier_unit(c_in: int, outputs: int, size: Size) -> Unit:
    """A global average pool and a linear layer with bias."""
    layer = make_layer("classifier", c_in, outputs, POINT, Style("symmetric", "none", "none"))
    return check_unit(Unit("classifier", (layer,), c_in, outputs, size, POINT, 1, "none", None))


@lru_cache(maxsize=16_384)
def block_unit(block: BlockSpec, c_in: int, c_out: int, stride: int, dilation: int, size: Size, style: Style) -> Unit:
    """One block of a row.

    Stride and dilation are as built; `style` is the network's, which the row may override.

    Raises:
        SpecError: the block cannot be laid out; addresses are relative to the row.

    Source: tensorflow/models, conv_blocks.py, `expanded_conv`, step by step.
    """
    own = Style(
        block.padding or style.padding, block.normalizer or style.normalizer, block.activation or style.activation
    )
    layers = _BlockLayers(block, c_in, c_out, stride, dilation, size, own).layers
    final, size_out = layers[-1].c_out, layers[-1].size_out
    shortcut: Shortcut = "none"
    is_alike = stride == 1 and final == c_in
    if block.residual == "pad" and final >= c_in and size_out == size.strided(stride):
        shortcut = "identity" if is_alike else "pad"
    elif block.residual == "auto" and is_alike:
        shortcut = "identity"
    if shortcut == "identity" and size_out != size:
        raise SpecError.of(
            at="residual",
            what=f"padding valid shrinks the map from {size} to {size_out} px, so the input cannot be added",
            fix="write residual: off, or use padding symmetric",
        )
    return check_unit(Unit("block", tuple(layers), c_in, final, size, size_out, stride, shortcut, block))


class _BlockLayers:
    """The layers of one block; `depth` and `size` describe the tensor that the next layer reads."""

    def __init__(
        self, block: BlockSpec, c_in: int, c_out: int, stride: int, dilation: int, size: Size, style: Style
    ) -> None:
        self.layers: list[Layer] = []
        self.depth, self.size, self.style = c_in, size, style
        window = Window(block.kernel, stride, dilation)
        hidden = block.expand_to or (
            c_in if block.expansion == 1 else make_divisible(c_in * block.expansion, block.expand_divisor)
        )
        is_fused = block.operator == "fused"
        location = "none" if is_fused else block.depthwise_location
        if location == "input":
            self._depthwise(block, window, "none")
        if is_fused:
            self._add("expansion", hidden, style.activation, window)
        elif hidden > self.depth:
            self._pointwise("expansion", hidden, block.split_expansion, block.split_divisor, style.activation)
        if location == "expansion":
            self._depthwise(block, window, block.depthwise_activation or style.activation)
        if block.transform != "none":
            self.layers += _gate(self.depth, block.transform)
        self._pointwise("projection", c_out, block.split_projection, block.split_divisor, block.projection_activation)
        if location == "output":
            self._depthwise(block, window, "none")

    def _add(self, role: Role, outputs: int, activation: str, window: Window = ONE, parts: Parts = ()) -> None:
        style = Style(self.style.padding, self.style.normalizer, activation)
        groups = self.depth if role == "depthwise" else 1
        layer = make_layer(role, self.depth, outputs, self.size, style, window=window, groups=groups, parts=parts)
        self.layers.append(layer)
        self.depth, self.size = outputs, layer.size_out

    def _depthwise(self, block: BlockSpec, window: Window, activation: str) -> None:
        outputs = self.depth * block.depthwise_multiplier
        self._add("depthwise", outputs, activation, window)

    def _pointwise(self, role: Role, outputs: int, ways: int, divisor: int, activation: str) -> None:
        parts = _split(self.depth, outputs, ways, divisor, f"split_{role}")
        self._add(role, outputs, activation, parts=parts)


def _gate(channels: int, transform: str) -> tuple[Layer, Layer]:
    """Squeeze and excite: 1x1 convolutions with bias on the pooled tensor. Source: slim's `squeeze_excite`."""
    factor, gate = TRANSFORMS[transform]
    squeezed = make_divisible(channels / factor, 8)
    first, second = (Style("symmetric", "none", activation) for activation in ("relu", gate))
    return (
        make_layer("squeeze", channels, squeezed, POINT, first),
        make_layer("excite", squeezed, channels, POINT, second),
    )


def _split(c_in: int, c_out: int, ways: int, divisor: int, at: str) -> Parts:
    if ways == 1 or min(c_in // ways, c_out // ways) < divisor:
        return ()
    for total in (c_in, c_out):
        if total % divisor:
            raise SpecError.of(
                at=at,
                what=f"{total} channels cannot be split into multiples of {divisor}",
                fix=f"use widths that are multiples of {divisor}, another split_divisor, or no split",
            )
    return tuple(zip(split_channels(c_in, ways, divisor), split_channels(c_out, ways, divisor), strict=True))
