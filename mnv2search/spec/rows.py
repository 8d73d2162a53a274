"""The rows of a network, its first convolution and its batch norm, with the rules that relate their fields."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from mnv2search.errors import Problem
from mnv2search.spec.rules import Channels, Checked, Kernel, Range, Stride

# Maximum number of layers (as slim counts them), which keeps a plan within memory.
MAX_UNITS = 512

Activation = Literal["relu6", "relu", "hard_swish", "silu", "none"]
DepthwiseLocation = Literal["expansion", "input", "output", "none"]
Normalizer = Literal["batch", "group", "none"]
Operator = Literal["inverted_residual", "fused"]
Padding = Literal["symmetric", "same", "valid"]
Residual = Literal["auto", "off", "pad"]
Transform = Literal["none", "squeeze_excite", "squeeze_excite_v3"]

Divisor = Annotated[int, Range(1, 1024)]
Ways = Annotated[int, Range(1, 64)]
Share = Annotated[float, Range(0, 1, is_open=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchNorm(Checked):
    """Batch-norm constants; `momentum` is PyTorch's, which is one minus TensorFlow's decay.

    Source: defaults are torchvision's; slim uses eps 1e-3 and momentum 0.003.
    """

    eps: Share = 1e-5
    momentum: Share = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Stem(Checked):
    """The first convolution: output channels before width, kernel and stride."""

    channels: Channels = 32
    kernel: Kernel = 3
    stride: Stride = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockSpec(Checked):
    """A row: `repeats` inverted residual blocks, of which only the first has the stride.

    Attributes:
        expansion: t, the factor from the block's input width to its hidden width; 1 builds no expansion.
        channels: c, output channels before the width multiplier.
        repeats: n, the number of blocks.
        stride: s, stride of the first repeat, 1 or 2.
        kernel: k, side of the depthwise kernel (of the expansion in a fused block), odd.
        dilation: dilation of the depthwise convolution, in all repeats.
        expand_to: number of hidden channels (overrides `expansion`).
        expand_divisor: the hidden width is rounded to a multiple of this number.
        operator: `fused` replaces expansion and depthwise by one full k x k convolution.
        residual: `auto` adds the input if the stride is 1 and the widths are equal; `pad` always adds the input,
            average-pooled and zero-padded in channels if needed; `off` never adds it.
        split_expansion: number of groups of the 1x1 expansion; each group sees only its part of the input.
        split_projection: number of groups of the 1x1 projection.
        split_divisor: the channels of every group are a multiple of it.
        transform: operation on the hidden tensor before the projection.
        depthwise_location: position of the depthwise convolution; `none` builds none.
        depthwise_multiplier: depthwise outputs per input channel.
        activation: activation after expansion and depthwise; None takes the model's.
        depthwise_activation: activation after the depthwise; None takes `activation`.
        projection_activation: activation after the projection.
        normalizer: normalizer of the row; None takes the model's.
        padding: padding of the row; None takes the model's.

    Source: tensorflow/models, research/slim/nets/mobilenet/conv_blocks.py, `expanded_conv`.
    """

    channels: Channels
    expansion: Annotated[float, Range(1, 64)] = 6
    repeats: Annotated[int, Range(1, MAX_UNITS)] = 1
    stride: Stride = 1
    kernel: Kernel = 3
    dilation: Ways = 1
    expand_to: Channels | None = None
    expand_divisor: Divisor = 8
    operator: Operator = "inverted_residual"
    residual: Residual = "auto"
    split_expansion: Ways = 1
    split_projection: Ways = 1
    split_divisor: Divisor = 8
    transform: Transform = "none"
    depthwise_location: DepthwiseLocation = "expansion"
    depthwise_multiplier: Ways = 1
    activation: Activation | None = None
    depthwise_activation: Activation | None = None
    projection_activation: Activation = "none"
    normalizer: Normalizer | None = None
    padding: Padding | None = None

    def problems(self) -> Iterator[Problem]:
        """Problems of settings that contradict each other."""
        if self.stride > 1 and self.dilation > 1:
            yield self._clash(
                "dilation",
                f"in a row of stride {self.stride}",
                "a convolution cannot do both: put the stride in a separate row, or set output_stride",
            )
        if self.depthwise_location == "none":
            yield from self._missing_depthwise_problems()
        if self.operator == "fused":
            yield from self._fused_problems()
        elif self.transform != "none" and self.depthwise_location != "expansion":
            yield self._clash(
                "transform",
                f"where depthwise_location is {self.depthwise_location}",
                "a transform stands after the depthwise of the hidden tensor: use depthwise_location expansion",
            )

    def _missing_depthwise_problems(self) -> Iterator[Problem]:
        where = "where depthwise_location is none"
        is_bare = self.operator == "inverted_residual"
        if is_bare and self.stride > 1:
            fix = "only the depthwise carries the stride: without one nothing is halved; use stride 1"
            yield self._clash("stride", where, fix)
        if is_bare and self.dilation > 1:
            yield self._clash("dilation", where, "only the depthwise is dilated; use dilation 1")
        if self.depthwise_multiplier > 1:
            yield self._clash("depthwise_multiplier", where, "use 1, or give the depthwise a location")

    def _fused_problems(self) -> Iterator[Problem]:
        if self.expansion == 1 and self.expand_to is None:
            fix = "the fused convolution is the expansion: use an expansion above 1"
            yield self._clash("operator", "in a row of expansion 1", fix)
        if self.depthwise_location not in ("expansion", "none"):
            fix = "a fused row has no depthwise: leave depthwise_location out"
            yield self._clash("depthwise_location", "in a fused row", fix)
        for name in ("split_expansion", "split_projection", "depthwise_multiplier"):
            if getattr(self, name) != 1:
                yield self._clash(name, "in a fused row", "it has no effect there; use 1")

    def _clash(self, name: str, where: str, fix: str) -> Problem:
        return Problem(at=name, what=f"{name} is {getattr(self, name)} {where}", fix=fix)


# (t, c, n, s) of MobileNetV2 itself. Source: arXiv 1801.04381, Table 2.
_ROWS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
MOBILENET_V2_BLOCKS = tuple(BlockSpec(expansion=t, channels=c, repeats=n, stride=s) for t, c, n, s in _ROWS)
