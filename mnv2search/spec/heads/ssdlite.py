"""The head of a detector: its fields, their rules and its units."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from mnv2search.errors import Problem, SpecError
from mnv2search.spec.heads.base import Backbone, Endpoint, Head, endpoint_or, head_unit
from mnv2search.spec.layers import (
    ONE,
    DetectorUnit,
    Layer,
    Style,
    Unit,
    Window,
    depthwise,
    pointwise,
    predictor,
    whole,
)
from mnv2search.spec.rules import Channels, Checked, Entries, Kernel, Range

DetectorOutput = Literal["raw", "boxes", "detections"]
Share = Annotated[float, Range(0, 1, is_open=True)]
Tap = Annotated[str, endpoint_or("before_last_stride|last")]

# Source: tensorflow/models, ssd_mobilenet_v2_feature_extractor.py, `preprocess` and `extract_features`.
MIN_DETECTOR_SIDE = 33
# Boxes per position of a reduced first map. Source: tensorflow/models, multiple_grid_anchor_generator.py.
REDUCED_BOXES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtraLayer(Checked):
    """An additional map of a detector: a 1x1 convolution to half of the channels, then a strided 3x3 to all channels.

    Attributes:
        channels: output channels before the width multiplier, which is applied without rounding to a multiple.

    Source: tensorflow/models, object_detection/models/feature_map_generators.py.
    """

    channels: Channels


@dataclass(frozen=True, slots=True, kw_only=True)
class SsdLite(Head):
    """Single-shot detection: boxes and class scores predicted on maps of decreasing size.

    Attributes:
        classes: number of object classes, without background.
        taps: endpoints that are the first maps; before_last_stride is the input of the last strided convolution of
            the blocks, last the final map.
        extras: additional maps, each computed from the previous one.
        min_channels: minimum channels of the extra layers, and of the backbone if the network sets none.
        depthwise_extras: the strided 3x3 of an extra layer is depthwise, followed by a 1x1; else a full convolution.
        depthwise_predictors: a predictor is a depthwise convolution followed by a 1x1; else one full convolution.
        predictor_kernel: kernel of the predictors, odd.
        smallest_scale: side of the first map's boxes over the image's side.
        largest_scale: side of the last map's boxes over the image's side; the scales between are evenly spaced.
        ratios: width over height of the boxes of one position.
        interpolated: one more square box, between this map's scale and the next.
        reduced_first: the first map has only three boxes per position.
        output: raw is encodings and logits, boxes is decoded boxes and scores, detections is the boxes that remain
            after non-maximum suppression.
        score_threshold: minimum score of a detection.
        iou_threshold: if two boxes of a class overlap more than this, the lower-scored box is removed.
        detections: maximum number of detections for an image.

    Source: tensorflow/models, object_detection/samples/configs/ssdlite_mobilenet_v2_coco.config.
    """

    word: ClassVar[str] = "ssdlite"
    module: ClassVar[str] = "mnv2search.model.ssdlite:SsdLiteHead"
    fixes_size: ClassVar[bool] = True  # anchors are laid out for it

    classes: Annotated[int, Range(1, 10_000)] = 80
    taps: Annotated[tuple[Tap, ...], Entries(1)] = ("before_last_stride", "last")
    extras: tuple[ExtraLayer, ...] = field(
        default_factory=lambda: tuple(ExtraLayer(channels=channels) for channels in (512, 256, 256, 128))
    )
    min_channels: Annotated[int, Range(1, 1024)] = 16
    depthwise_extras: bool = True
    depthwise_predictors: bool = True
    predictor_kernel: Kernel = 3
    smallest_scale: Share = 0.2
    largest_scale: Share = 0.95
    ratios: Annotated[tuple[Annotated[float, Range(0.01, 100)], ...], Entries(1)] = (1.0, 2.0, 0.5, 3.0, 0.3333)
    interpolated: bool = True
    reduced_first: bool = True
    output: DetectorOutput = "boxes"
    score_threshold: Annotated[float, Range(0, 1)] = 1e-8
    iou_threshold: Share = 0.6
    detections: Annotated[int, Range(1, 10_000)] = 100

    def problems(self) -> Iterator[Problem]:
        """Problems of scales that do not increase, too few maps, or a map listed twice."""
        if self.smallest_scale >= self.largest_scale:
            yield Problem(
                at="smallest_scale",
                what=f"smallest_scale is {self.smallest_scale:g} and largest_scale {self.largest_scale:g}",
                fix="use a smallest_scale below largest_scale",
            )
        if len(self.taps) + len(self.extras) < 2:
            fix = "scales need two maps or more: add a tap or an extra layer"
            yield Problem(at="extras", what="there is one map only", fix=fix)
        if len(set(self.taps)) < len(self.taps):
            yield Problem(at="taps", what="taps has an endpoint twice", fix="name every endpoint once")

    def backbone_minimum(self) -> int:
        """The detector's minimum."""
        return self.min_channels

    def boxes_per_place(self, number: int) -> int:
        """The number of boxes predicted at each position of map `number`, which counts from 0.

        >>> [SsdLite().boxes_per_place(number) for number in (0, 1)]
        [3, 6]
        """
        if self.reduced_first and number == 0:
            return REDUCED_BOXES
        return len(self.ratios) + self.interpolated

    def units(self, backbone: Backbone) -> Iterator[tuple[str, Unit]]:
        """Extra maps, then the predictors of each map. Source: tensorflow/models, feature_map_generators.py."""
        if min(backbone.size) < MIN_DETECTOR_SIDE:
            raise SpecError.of(
                at="resolution",
                what=f"resolution is {backbone.size}, but head is ssdlite",
                fix=f"a detector needs {MIN_DETECTOR_SIDE} px or more",
            )
        style = backbone.head_style
        maps = [_tap(backbone, name, f"head.taps[{number}]") for number, name in enumerate(self.taps)]
        for number, extra in enumerate(self.extras):
            layers = self._extra_layers(extra, maps[-1], backbone.width, style)
            unit = head_unit("extra", f"head/extra_{number + 1}", [maps[-1]], layers)
            maps.append(Endpoint(unit.name, unit.c_out, unit.size_out))
            yield f"head.extras[{number}]", unit
        kinds: tuple[tuple[DetectorUnit, int], ...] = (("boxes", 4), ("scores", self.classes + 1))
        for number, one in enumerate(maps):
            for kind, numbers in kinds:
                layers = self._predictor_layers(one, numbers * self.boxes_per_place(number), style)
                yield "head", head_unit(kind, f"head/{kind}_{number + 1}", [one], layers)

    def _extra_layers(self, extra: ExtraLayer, source: Endpoint, width: float, style: Style) -> tuple[Layer, ...]:
        """A 1x1 to half of the channels, then a strided 3x3; channels are truncated, not rounded to a multiple."""
        half, full = (max(int(depth * width), self.min_channels) for depth in (extra.channels / 2, extra.channels))
        narrow = pointwise(source.channels, half, source.size, style)
        if not self.depthwise_extras:
            return narrow, whole(half, full, Window(3, 2), source.size, style)
        deep = depthwise(half, Window(3, 2), source.size, style)
        return narrow, deep, pointwise(half, full, deep.size_out, style)

    def _predictor_layers(self, source: Endpoint, outputs: int, style: Style) -> tuple[Layer, ...]:
        """Source: tensorflow/models, predictors/heads/box_head.py and class_head.py."""
        (_, channels, size), window = source, Window(self.predictor_kernel)
        if self.depthwise_predictors:
            return depthwise(channels, window, size, style), predictor(channels, outputs, ONE, size, style)
        return (predictor(channels, outputs, window, size, style),)


def _tap(backbone: Backbone, name: str, at: str) -> Endpoint:
    if name == "last":
        return backbone.last
    return backbone.endpoint(_before_last_stride(backbone, at) if name == "before_last_stride" else name, at)


def _before_last_stride(backbone: Backbone, at: str) -> str:
    """The endpoint that is the input of the last strided convolution of the blocks."""
    strided = [number for number, stride in enumerate(backbone.strides, start=1) if stride > 1 and number > 1]
    if strided:
        number = strided[-1]
        layers = backbone.units[number - 1].layers
        carrier = next(i for i, layer in enumerate(layers) if layer.kernel > 1 or layer.role == "depthwise")
        if carrier == 0:
            return f"layer_{number - 1}"
        if layers[carrier - 1].role == "expansion":
            return f"layer_{number}/expansion_output"
    raise SpecError.of(
        at=at,
        what="before_last_stride has no endpoint: no block, or only its last depthwise, has stride 2",
        fix="name an endpoint such as layer_2, or give a row stride 2",
    )
