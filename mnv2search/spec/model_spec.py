"""The description of a network of the MobileNetV2 family, and the code that lays it out.

A value that exists is valid: the constructor lays out every layer and raises `SpecError` with all problems.
No other code in the package computes a channel count, a size, a padding or a dilation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from mnv2search.display import Displayed
from mnv2search.errors import OptionError, Problem, SpecError
from mnv2search.spec.geometry import make_divisible, placements
from mnv2search.spec.heads.base import Backbone, Head
from mnv2search.spec.heads.classifier import Classifier
from mnv2search.spec.heads.deeplab import DeepLab
from mnv2search.spec.heads.ssdlite import ExtraLayer, SsdLite
from mnv2search.spec.layers import Style, Unit, check_unit
from mnv2search.spec.layout import block_unit, plain_unit
from mnv2search.spec.rows import MAX_UNITS, Activation, BatchNorm, BlockSpec, Normalizer, Padding, Stem
from mnv2search.spec.rules import OUTPUT_STRIDES, Channels, Checked, Entries, Options, Range
from mnv2search.spec.size import Resolution, Size, size_of

__all__ = ["BatchNorm", "BlockSpec", "Classifier", "DeepLab", "ExtraLayer", "Head", "ModelSpec", "SsdLite", "Stem"]

KeepLast = Literal["auto", "always", "never"]
OutputStride = Annotated[int, Options(OUTPUT_STRIDES, "use 2, 4, 8, 16 or 32")]
MAX_RESOLUTION = 4096


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ModelSpec(Checked, Displayed):
    """A network, described by its rows of blocks; `mnv2search.spec.plan.plan` derives its layers.

    Attributes:
        name: name in messages and file names.
        blocks: rows of blocks, as in the paper's Table 2.
        width: width multiplier; scales stem, blocks and last convolution.
        resolution: side of the square input in px, or height and width if they differ.
        stem: first convolution.
        last_channels: outputs of the last 1x1 convolution before width; None builds none.
        head: classifier, detector or segmenter; None makes a feature extractor.
        channel_divisor: scaled channels are rounded to a multiple of this number.
        min_channels: minimum number of channels after scaling; None takes `head.min_channels` of a detector, else
            `channel_divisor`.
        keep_stem: the width multiplier does not apply to the stem.
        keep_last: channels of the last convolution; `auto`: `last_channels`, unless the width is above 1 (as in the
            published checkpoints); `always`: `last_channels`; `never`: scaled by the width multiplier.
        output_stride: input side over the final map's side; further strides become dilation. None: no limit.
        padding: `symmetric` (PyTorch), `same` (TensorFlow: surplus at bottom and right), or `valid`.
        activation: activation of stem, expansion, depthwise and last convolution.
        normalizer: normalizer after every convolution; with `none`, every convolution has a bias.
        batch_norm: constants of the normalizer `batch`.
        layout: units with their addresses, derived from the other fields.

    Source: arXiv 1801.04381, Table 2; tensorflow/models, research/slim/nets/mobilenet/mobilenet_v2.py.
    """

    name: str
    blocks: Annotated[tuple[BlockSpec, ...], Entries(0, MAX_UNITS)]
    width: Annotated[float, Range(0, 100, is_open=True)] = 1.0
    resolution: Annotated[Resolution, Range(1, MAX_RESOLUTION)] = 224
    stem: Stem = field(default_factory=Stem)
    last_channels: Channels | None = 1280
    head: Head | None = field(default_factory=Classifier)
    channel_divisor: Annotated[int, Range(1, 1024)] = 8
    min_channels: Channels | None = None
    keep_stem: bool = False
    keep_last: KeepLast = "auto"
    output_stride: OutputStride | None = None
    padding: Padding = "symmetric"
    activation: Activation = "relu6"
    normalizer: Normalizer = "batch"
    batch_norm: BatchNorm = field(default_factory=BatchNorm)
    layout: tuple[tuple[str, Unit], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        object.__setattr__(self, "layout", _laid_out(self))

    @property
    def size(self) -> Size:
        """Height and width of the input."""
        return size_of(self.resolution)

    def problems(self) -> Iterator[Problem]:
        """Problems of too many layers, or of strides that contradict `output_stride`."""
        units = sum(block.repeats for block in self.blocks) + 2
        if not self.blocks:
            yield Problem(at="blocks", what="blocks is empty", fix="write at least one row")
        elif units > MAX_UNITS:
            fix = f"use fewer repeats: at most {MAX_UNITS} are planned"
            yield Problem(at="blocks", what=f"the rows make {units} layers", fix=fix)
        elif self.output_stride is not None:
            yield from _output_stride_problems(self, self.output_stride)


def _output_stride_problems(spec: ModelSpec, target: int) -> Iterator[Problem]:
    strides = _strides(spec)
    total = math.prod(strides)
    if target > total:
        yield Problem(
            at="output_stride",
            what=f"output_stride is {target}, but the strides multiply to {total} only",
            fix=f"use {total} or less, or leave it out",
        )
    _, *rates = (dilation for _, dilation in placements(strides, target))
    for number, block in enumerate(spec.blocks):
        rate = max(rates[: block.repeats])
        rates = rates[block.repeats :]
        if block.dilation > 1 and rate > 1:
            yield Problem(
                at=f"blocks[{number}].dilation",
                what=f"dilation is {block.dilation} in a row that output_stride dilates by {rate}",
                fix="leave one of the two out",
            )


def _strides(spec: ModelSpec) -> list[int]:
    """The stride of the stem and of every repeat as written."""
    of_blocks = (stride for block in spec.blocks for stride in (block.stride, *[1] * (block.repeats - 1)))
    return [spec.stem.stride, *of_blocks]


def _laid_out(spec: ModelSpec) -> tuple[tuple[str, Unit], ...]:
    """Every unit with its address in the spec, in a valid order of computation.

    Raises:
        SpecError: a unit cannot be laid out.
    """
    style = Style(spec.padding, spec.normalizer, spec.activation)
    strides, scaled = _strides(spec), _scaling(spec)
    placed = placements(strides, spec.output_stride)
    at, stem = "stem", spec.stem
    try:
        channels = stem.channels if spec.keep_stem else scaled(stem.channels)
        unit = plain_unit("stem", 3, channels, stem.kernel, *next(placed), spec.size, style)
        found = [(at, unit)]
        for row, block in enumerate(spec.blocks):
            at, c_out = f"blocks[{row}]", scaled(block.channels)
            for _ in range(block.repeats):
                stride, rate = next(placed)
                # the rules refuse a row that has both dilations
                unit = block_unit(block, unit.c_out, c_out, stride, max(block.dilation, rate), unit.size_out, style)
                found.append((at, unit))
        if spec.last_channels is not None:
            at = "last_channels"
            is_kept = spec.keep_last == "always" or (spec.keep_last == "auto" and spec.width < 1)
            channels = spec.last_channels if is_kept else scaled(spec.last_channels)
            unit = plain_unit("last", unit.c_out, channels, 1, 1, 1, unit.size_out, style)
            found.append((at, unit))
        if spec.head is not None:
            at = "head"
            backbone = Backbone([unit for _, unit in found], strides, spec.size, spec.width, style)
            for at, unit in spec.head.units(backbone):
                found.append((at, check_unit(unit)))
    except SpecError as error:
        raise SpecError([replace(one, at=_below(at, one.at)) for one in error.diagnostics]) from None
    return tuple(found)


def _scaling(spec: ModelSpec) -> Callable[[int], int]:
    """The function that multiplies channels by the width multiplier and rounds them."""
    minimum = spec.min_channels
    if minimum is None and spec.head is not None:
        minimum = spec.head.backbone_minimum()
    return lambda channels: make_divisible(channels * spec.width, spec.channel_divisor, minimum)


def _below(at: str, inner: str) -> str:
    """The full address of a problem in the unit at `at`; only in rows is `inner` relative to `at`."""
    return f"{at}.{inner}" if inner and at.startswith("blocks") else inner or at


def square_side(spec: ModelSpec) -> int:
    """The side in px of a classifier's images, which are cropped to squares.

    Raises:
        OptionError: height and width of the input differ.
    """
    if isinstance(spec.resolution, int):
        return spec.resolution
    raise OptionError(
        f"{spec.name} takes images of {spec.size} px, but images for classifiers are cropped to squares",
        hint="write its resolution as one number; detectors and segmenters take any height and width",
    )
