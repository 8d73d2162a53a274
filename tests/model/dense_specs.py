"""Small networks with the heads of detectors and segmenters, for the tests of networks and of lowering."""

from __future__ import annotations

from typing import Any

from mnv2search.spec.model_spec import BlockSpec, DeepLab, ExtraLayer, ModelSpec, SsdLite, Stem

__all__ = ["DENSE", "detector", "segmenter"]

ROWS = (
    BlockSpec(channels=16, expansion=1),
    BlockSpec(channels=24, stride=2, repeats=2),
    BlockSpec(channels=32, stride=2),
)
EXTRAS = (ExtraLayer(channels=64), ExtraLayer(channels=32))


def detector(name: str = "detector", *, spec: dict[str, Any] | None = None, **head: Any) -> ModelSpec:
    """A detector of few layers on 48 px, with changes of its head and of the rest."""
    values: dict[str, Any] = {"classes": 3, "extras": EXTRAS}
    made = SsdLite(**(values | head))
    settings: dict[str, Any] = {"resolution": 48, "stem": Stem(channels=16), "last_channels": 64}
    return ModelSpec(name=name, head=made, **({"blocks": ROWS} | settings | (spec or {})))


def segmenter(name: str = "segmenter", *, spec: dict[str, Any] | None = None, **head: Any) -> ModelSpec:
    """A segmenter of few layers on 49 px, with changes of its head and of the rest."""
    made = DeepLab(**({"classes": 4, "channels": 16} | head))
    settings: dict[str, Any] = {"resolution": 49, "stem": Stem(channels=16), "last_channels": None}
    return ModelSpec(name=name, head=made, **({"blocks": ROWS} | settings | (spec or {})))


DENSE: dict[str, ModelSpec] = {
    "detector": detector(),
    "detector, raw": detector(output="raw"),
    "detector, same padding": detector(spec={"padding": "same"}),
    "detector, full convolutions": detector(depthwise_extras=False, depthwise_predictors=False),
    "detector, six boxes everywhere": detector(reduced_first=False, interpolated=False),
    "detector, taps inside": detector(taps=("layer_3/depthwise_output", "layer_5/output", "last"), extras=()),
    "detector, no norm": detector(spec={"normalizer": "none"}),
    "detector, group norm": detector(spec={"normalizer": "group"}),
    "detector, hard swish": detector(spec={"activation": "hard_swish"}),
    "detector, wide": detector(spec={"resolution": (48, 81), "padding": "same"}),
    "detector, detections": detector(output="detections", score_threshold=0.05, detections=20),
    "segmenter": segmenter(),
    "segmenter, logits": segmenter(output="logits"),
    "segmenter, classes": segmenter(output="classes"),
    "segmenter, no pooling": segmenter(image_pooling=False),
    "segmenter, atrous": segmenter(aspp_rates=(2, 3), aspp_separable=False),
    "segmenter, separable atrous": segmenter(aspp_rates=(2, 3)),
    "segmenter, decoder": segmenter(decoder_stride=4),
    "segmenter, dilated": segmenter(decoder_stride=2, spec={"output_stride": 4}),
    "segmenter, same padding, even side": segmenter(spec={"padding": "same", "resolution": 48}, decoder_stride=2),
    "segmenter, wide": segmenter(decoder_stride=4, spec={"resolution": (49, 97)}),
    "segmenter, tall, same padding": segmenter(spec={"padding": "same", "resolution": (66, 48), "output_stride": 4}),
    "segmenter, own tap": segmenter(decoder_stride=2, decoder_tap="layer_2"),
}
