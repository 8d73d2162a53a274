"""The frozen values that describe a network of the MobileNetV2 family.

A value that exists is valid: constructing one asks `mnv2search.spec.rules` and raises `SpecError` with every
problem found.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mnv2search.errors import SpecError
from mnv2search.spec.heads.values import HEADS, Classifier, DeepLab, ExtraLayer, Head, SsdLite
from mnv2search.spec.size import Resolution, Size, size_of
from mnv2search.spec.words import (
    Activation,
    DepthwiseLocation,
    KeepLast,
    Normalizer,
    Operator,
    Padding,
    Residual,
    Transform,
)

__all__ = [
    "HEADS",
    "Activation",
    "BatchNorm",
    "BlockSpec",
    "Classifier",
    "DeepLab",
    "DepthwiseLocation",
    "ExtraLayer",
    "Head",
    "KeepLast",
    "ModelSpec",
    "Normalizer",
    "Operator",
    "Padding",
    "Residual",
    "SsdLite",
    "Stem",
    "Transform",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchNorm:
    """Batch-norm constants; `momentum` is PyTorch's, which is one minus TensorFlow's decay.

    Source: defaults are torchvision's; slim uses eps 1e-3 and momentum 0.003.
    """

    eps: float = 1e-5
    momentum: float = 0.1

    def __post_init__(self) -> None:
        _ask_rules(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stem:
    """The first convolution: output channels before width, kernel and stride."""

    channels: int = 32
    kernel: int = 3
    stride: int = 2

    def __post_init__(self) -> None:
        _ask_rules(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockSpec:
    """A row: `repeats` inverted residual blocks, of which only the first has the stride.

    Attributes:
        expansion: t, the factor from the block's input width to its hidden width; 1 builds no expansion.
        channels: c, output channels before the width multiplier.
        repeats: n.
        stride: s of the first repeat, 1 or 2.
        kernel: k of the depthwise convolution (of the expansion in a fused block), odd.
        dilation: of the depthwise convolution, in all repeats.
        expand_to: hidden width as an absolute number of channels, in place of `expansion`.
        expand_divisor: the hidden width is rounded to a multiple of it.
        operator: `fused` replaces expansion and depthwise by one full k x k convolution.
        residual: `auto` adds the input where stride is 1 and widths are equal; `pad` also elsewhere, with the
            input average-pooled and zero-padded in channels; `off` never.
        split_expansion: ways in which the expansion is split; each part sees only its part of the input.
        split_projection: the same for the projection.
        split_divisor: every part is a multiple of it.
        transform: what is applied to the hidden tensor before the projection.
        depthwise_location: where the depthwise stands; `none` builds none.
        depthwise_multiplier: depthwise outputs per input channel.
        activation: after expansion and depthwise; None takes the model's.
        depthwise_activation: after the depthwise alone; None takes `activation`.
        projection_activation: after the projection.
        normalizer: None takes the model's.
        padding: None takes the model's.

    Source: tensorflow/models, research/slim/nets/mobilenet/conv_blocks.py, `expanded_conv`.
    """

    channels: int
    expansion: float = 6
    repeats: int = 1
    stride: int = 1
    kernel: int = 3
    dilation: int = 1
    expand_to: int | None = None
    expand_divisor: int = 8
    operator: Operator = "inverted_residual"
    residual: Residual = "auto"
    split_expansion: int = 1
    split_projection: int = 1
    split_divisor: int = 8
    transform: Transform = "none"
    depthwise_location: DepthwiseLocation = "expansion"
    depthwise_multiplier: int = 1
    activation: Activation | None = None
    depthwise_activation: Activation | None = None
    projection_activation: Activation = "none"
    normalizer: Normalizer | None = None
    padding: Padding | None = None

    def __post_init__(self) -> None:
        _ask_rules(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A network: everything that `mnv2search.spec.plan.plan` needs to lay out its layers.

    Attributes:
        name: for people and file names.
        blocks: the rows of the paper's Table 2.
        width: width multiplier; scales stem, blocks and last convolution.
        resolution: side of the square input in px, or height and width where they differ.
        stem: first convolution.
        last_channels: outputs of the last 1x1 convolution before width; None builds none.
        head: what stands on the features, or None for a feature extractor.
        channel_divisor: scaled channels are rounded to a multiple of it.
        min_channels: scaled channels are at least this; None takes the detector's, or else `channel_divisor`.
        keep_stem: the width multiplier leaves the stem alone.
        keep_last: `auto` keeps the last convolution's width below width 1 and scales it above (the published
            checkpoints), `always` keeps it, `never` scales it.
        output_stride: None, or the input's sides over the final map's; further strides become dilation.
        padding: `symmetric` (PyTorch), `same` (TensorFlow: surplus at bottom and right), or `valid`.
        activation: of stem, expansion, depthwise and last convolution.
        normalizer: after every convolution; `none` gives every convolution a bias.
        batch_norm: constants of the normalizer `batch`.

    Source: arXiv 1801.04381, Table 2; tensorflow/models, research/slim/nets/mobilenet/mobilenet_v2.py.
    """

    name: str
    blocks: tuple[BlockSpec, ...]
    width: float = 1.0
    resolution: Resolution = 224
    stem: Stem = field(default_factory=Stem)
    last_channels: int | None = 1280
    head: Head | None = field(default_factory=Classifier)
    channel_divisor: int = 8
    min_channels: int | None = None
    keep_stem: bool = False
    keep_last: KeepLast = "auto"
    output_stride: int | None = None
    padding: Padding = "symmetric"
    activation: Activation = "relu6"
    normalizer: Normalizer = "batch"
    batch_norm: BatchNorm = field(default_factory=BatchNorm)

    def __post_init__(self) -> None:
        _ask_rules(self)

    @property
    def size(self) -> Size:
        """Height and width of the input."""
        return size_of(self.resolution)


def _ask_rules(value: ModelSpec | BlockSpec | Stem | BatchNorm) -> None:
    from mnv2search.spec import rules

    if problems := tuple(rules.problems(value)):
        raise SpecError.from_problems(problems)
