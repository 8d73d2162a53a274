"""The frozen values that describe what stands on the features: a classifier, a detector, a segmenter."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from mnv2search.errors import SpecError
from mnv2search.spec.words import Activation

__all__ = ["HEADS", "Classifier", "DeepLab", "DetectorOutput", "ExtraLayer", "Head", "SegmenterOutput", "SsdLite"]

DetectorOutput = Literal["raw", "boxes", "detections"]
SegmenterOutput = Literal["logits", "resized", "classes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Classifier:
    """Global average pool, dropout and a linear layer with bias."""

    classes: int = 1000
    dropout: float = 0.2

    def __post_init__(self) -> None:
        _ask_rules(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtraLayer:
    """A further map of a detector: 1x1 convolution to half of the channels, then a strided 3x3 to all of them.

    Attributes:
        channels: outputs before the width multiplier, which is applied without rounding to a multiple.

    Source: tensorflow/models, object_detection/models/feature_map_generators.py.
    """

    channels: int

    def __post_init__(self) -> None:
        _ask_rules(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class SsdLite:
    """Single-shot detection: boxes and class scores predicted on maps of falling size.

    Attributes:
        classes: of objects; a score for background comes on top.
        taps: endpoints that are the first maps; before_last_stride is what the last strided convolution of the
            blocks reads, last the final map.
        extras: further maps, each from the one before.
        min_channels: least channels of the extra layers, and of the backbone where it says nothing itself.
        depthwise_extras: the strided 3x3 of the extra layers is depthwise, with a 1x1 after it; else a full one.
        depthwise_predictors: a predictor is a depthwise convolution with a 1x1 after it; else one full convolution.
        predictor_kernel: of the predictors, odd.
        smallest_scale: side of the first map's boxes over the image's side.
        largest_scale: the same of the last map's boxes; scales between are evenly spaced.
        ratios: width over height of the boxes of one place.
        interpolated: one more square box, between this map's scale and the next.
        reduced_first: the first map has three boxes a place only.
        output: raw gives encodings and logits, boxes decoded boxes and scores, detections what remains after
            non-maximum suppression.
        score_threshold: detections below it are left out.
        iou_threshold: of two boxes of a class that overlap more, the lower-scored is left out.
        detections: most that are given out for an image.

    Source: tensorflow/models, object_detection/samples/configs/ssdlite_mobilenet_v2_coco.config.
    """

    classes: int = 80
    taps: tuple[str, ...] = ("before_last_stride", "last")
    extras: tuple[ExtraLayer, ...] = field(
        default_factory=lambda: tuple(ExtraLayer(channels=channels) for channels in (512, 256, 256, 128))
    )
    min_channels: int = 16
    depthwise_extras: bool = True
    depthwise_predictors: bool = True
    predictor_kernel: int = 3
    smallest_scale: float = 0.2
    largest_scale: float = 0.95
    ratios: tuple[float, ...] = (1.0, 2.0, 0.5, 3.0, 0.3333)
    interpolated: bool = True
    reduced_first: bool = True
    output: DetectorOutput = "boxes"
    score_threshold: float = 1e-8
    iou_threshold: float = 0.6
    detections: int = 100

    def __post_init__(self) -> None:
        _ask_rules(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepLab:
    """Segmentation by DeepLabV3: parallel branches on the final map, joined, and logits for every pixel.

    Attributes:
        classes: of pixels, background included.
        channels: of every branch and of the join.
        image_pooling: a branch of the map's mean, spread over the map.
        aspp_rates: dilations of the atrous 3x3 branches; none has none of them.
        aspp_separable: an atrous branch is a depthwise convolution with a 1x1 after it; else one full convolution.
        decoder_stride: input side over the side at which a decoder refines the join; none has no decoder.
        decoder_tap: endpoint that the decoder reads; auto takes the depthwise output of the last block of its stride.
        decoder_channels: to which the decoder's tap is projected.
        dropout: share of the join's channels dropped in training.
        activation: after every convolution of the head.
        norm_eps: of the head's batch norm.
        output: logits keeps the side of the map, resized brings it to that of the image, classes gives the number
            of the highest for each pixel of the image.

    Source: tensorflow/models, deeplab/model.py and deeplab/common.py.
    """

    classes: int = 21
    channels: int = 256
    image_pooling: bool = True
    aspp_rates: tuple[int, ...] = ()
    aspp_separable: bool = True
    decoder_stride: int | None = None
    decoder_tap: str = "auto"
    decoder_channels: int = 48
    dropout: float = 0.1
    activation: Activation = "relu"
    norm_eps: float = 1e-5
    output: SegmenterOutput = "resized"

    def __post_init__(self) -> None:
        _ask_rules(self)


Head: TypeAlias = Classifier | SsdLite | DeepLab
# Word in a file -> the head that it means.
HEADS: dict[str, type[Head]] = {"classifier": Classifier, "ssdlite": SsdLite, "deeplab": DeepLab}


def _ask_rules(value: Head | ExtraLayer) -> None:
    from mnv2search.spec import rules

    if problems := tuple(rules.problems(value)):
        raise SpecError.from_problems(problems)
