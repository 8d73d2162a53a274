"""The rules of heads: the range of every field, and what goes together with what."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, get_args

from mnv2search.errors import Problem
from mnv2search.spec.heads import values as heads
from mnv2search.spec.words import Activation

if TYPE_CHECKING:
    from mnv2search.spec.model_spec import ModelSpec

__all__ = [
    "BOOLEANS",
    "CHOICES",
    "DECODER_STRIDES",
    "ENDPOINT_FIX",
    "INTEGERS",
    "LISTS",
    "MAX_CHANNELS",
    "MAX_LISTED",
    "MIN_DETECTOR_SIDE",
    "OPTIONAL",
    "REALS",
    "TEXTS",
    "place_problems",
    "problems",
]

MAX_CHANNELS = 65_536
MAX_LISTED = 16
DECODER_STRIDES = (2, 4, 8, 16)
# Source: tensorflow/models, ssd_mobilenet_v2_feature_extractor.py, `preprocess` and `extract_features`.
MIN_DETECTOR_SIDE = 33

INTEGERS: Mapping[type, Mapping[str, tuple[int, int]]] = {
    heads.Classifier: {"classes": (1, 1_000_000)},
    heads.ExtraLayer: {"channels": (1, MAX_CHANNELS)},
    heads.SsdLite: {
        "classes": (1, 10_000),
        "min_channels": (1, 1024),
        "predictor_kernel": (1, 31),
        "detections": (1, 10_000),
    },
    heads.DeepLab: {
        "classes": (2, 10_000),
        "channels": (1, MAX_CHANNELS),
        "aspp_rates": (1, 256),
        "decoder_stride": (1, 4096),
        "decoder_channels": (1, MAX_CHANNELS),
    },
}

REALS: Mapping[type, Mapping[str, tuple[float, float, bool]]] = {
    heads.Classifier: {"dropout": (0.0, 0.99, False)},
    heads.ExtraLayer: {},
    heads.SsdLite: {
        "smallest_scale": (0.0, 1.0, True),
        "largest_scale": (0.0, 1.0, True),
        "ratios": (0.01, 100.0, False),
        "score_threshold": (0.0, 1.0, False),
        "iou_threshold": (0.0, 1.0, True),
    },
    heads.DeepLab: {"dropout": (0.0, 0.99, False), "norm_eps": (0.0, 1.0, True)},
}

CHOICES: Mapping[type, Mapping[str, tuple[str, ...]]] = {
    heads.Classifier: {},
    heads.ExtraLayer: {},
    heads.SsdLite: {"output": get_args(heads.DetectorOutput)},
    heads.DeepLab: {"activation": get_args(Activation), "output": get_args(heads.SegmenterOutput)},
}

OPTIONAL: Mapping[type, frozenset[str]] = {
    heads.Classifier: frozenset(),
    heads.ExtraLayer: frozenset(),
    heads.SsdLite: frozenset(),
    heads.DeepLab: frozenset({"decoder_stride"}),
}

BOOLEANS: Mapping[type, frozenset[str]] = {
    heads.Classifier: frozenset(),
    heads.ExtraLayer: frozenset(),
    heads.SsdLite: frozenset({"depthwise_extras", "depthwise_predictors", "interpolated", "reduced_first"}),
    heads.DeepLab: frozenset({"image_pooling", "aspp_separable"}),
}

# Field that is a list -> the fewest entries. Lists are never choices: they say what a network is built of.
LISTS: Mapping[type, Mapping[str, int]] = {
    heads.SsdLite: {"taps": 1, "ratios": 1, "extras": 0},
    heads.DeepLab: {"aspp_rates": 0},
}

_LAYER = r"layer_[1-9]\d{0,3}(?:/(?:output|expansion_output|depthwise_output))?"
TEXTS: Mapping[type, Mapping[str, re.Pattern[str]]] = {
    heads.SsdLite: {"taps": re.compile(rf"before_last_stride|last|{_LAYER}")},
    heads.DeepLab: {"decoder_tap": re.compile(rf"auto|{_LAYER}")},
}
ENDPOINT_FIX = "name an endpoint such as layer_15/expansion_output, or leave it out"


def problems(head: heads.SsdLite | heads.DeepLab) -> Iterator[Problem]:
    """The rules that tie several fields of a head together."""
    if isinstance(head, heads.SsdLite):
        yield from _detector_problems(head)
    elif head.decoder_stride is None and head.decoder_tap != "auto":
        yield Problem(
            at="decoder_tap",
            what=f"decoder_tap is {head.decoder_tap} where there is no decoder",
            fix="write decoder_stride too, or leave decoder_tap out",
        )


def _detector_problems(head: heads.SsdLite) -> Iterator[Problem]:
    if head.smallest_scale >= head.largest_scale:
        yield Problem(
            at="smallest_scale",
            what=f"smallest_scale is {head.smallest_scale:g} and largest_scale {head.largest_scale:g}",
            fix="use a smallest_scale below largest_scale",
        )
    if len(head.taps) + len(head.extras) < 2:
        yield Problem(
            at="extras", what="there is one map only", fix="scales need two maps or more: add a tap or an extra layer"
        )
    if not 0 <= len(head.extras) <= MAX_LISTED:
        yield Problem(at="extras", what=f"extras has {len(head.extras)} entries", fix=f"at most {MAX_LISTED}")
    if len(set(head.taps)) < len(head.taps):
        yield Problem(at="taps", what="taps has an endpoint twice", fix="name every endpoint once")


def place_problems(spec: ModelSpec, head: heads.SsdLite | heads.DeepLab) -> Iterator[Problem]:
    """What is wrong with a head on this network, short of widths."""
    if isinstance(head, heads.SsdLite) and min(spec.size) < MIN_DETECTOR_SIDE:
        yield Problem(
            at="resolution",
            what=f"resolution is {spec.size} where head is ssdlite",
            fix=f"a detector needs {MIN_DETECTOR_SIDE} px or more",
        )
