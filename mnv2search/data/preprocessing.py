"""Preprocessing of images for inference: what evaluations do, and what exported files say about it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from PIL import Image

from mnv2search.data.dataset import class_name
from mnv2search.data.pixels import LONGEST, scaled
from mnv2search.data.transforms import short_side
from mnv2search.recipe import NORMALIZATIONS
from mnv2search.spec.heads.outputs import LEFT, answer_shape, output_of, output_text
from mnv2search.spec.model_spec import DeepLab, SsdLite
from mnv2search.spec.size import Size

if TYPE_CHECKING:
    from mnv2search.model.weights.network_file import Learned
    from mnv2search.spec.plan import Plan

Layout: TypeAlias = Literal["NCHW", "NHWC"]

KEY = "preprocessing"
"""Name of the JSON document in exported files."""
INPUT, OUTPUT = "image", "output"
CHANNELS = "RGB"
# Number of class names in a line of text.
SHOWN_CLASSES = 5
# What each value of a head without `head.output` means.
LOGITS, FEATURES = "logits of the classes", "the last feature map"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """Input and output of a network, and the conversion of an image file to the input, as in evaluations.

    Attributes:
        size: height and width of the input in px.
        output: `head.output` of a detector or segmenter, ``logits`` of a classifier, or ``features``.
        output_shape: shape of the output for one image, channels first.
        meaning: meaning of the output.
        classes: names of the classes by index; empty if they are unknown, like the following attributes.
        normalization: name of one of `mnv2search.recipe.NORMALIZATIONS`.
        short_px: short side in px of the scaled image whose center is the input; None for a whole image.
        is_whole: the whole image is resized to the input's size.
    """

    size: Size
    output: str
    output_shape: tuple[int, ...]
    meaning: str
    classes: tuple[str, ...] = ()
    normalization: str | None = None
    short_px: int | None = None
    is_whole: bool = False

    @classmethod
    def of(cls, plan: Plan, learned: Learned | None) -> Preprocessing:
        """The preprocessing of a network with these weights; `learned` is None for random and third-party weights."""
        spec = plan.spec
        form = output_of(spec) or ("features" if plan.classifier is None else "logits")
        meaning = LEFT[form] if plan.dense else LOGITS if plan.classifier is not None else FEATURES
        crop = None if learned is None else learned.crop
        return cls(
            size=spec.size,
            output=form,
            output_shape=answer_shape(plan),
            meaning=meaning,
            classes=() if learned is None else tuple(map(class_name, learned.classes)),
            normalization=None if learned is None else learned.normalization,
            short_px=None if crop is None else short_side(max(spec.size), crop),
            is_whole=learned is not None and isinstance(spec.head, SsdLite | DeepLab),
        )

    @property
    def is_upright(self) -> bool:
        """Whether the rotation in the EXIF data is applied: boxes and masks refer to the pixels as stored."""
        return not self.is_whole

    def fitted(self, picture: Image.Image) -> Image.Image:
        """An RGB image, resized and cropped to the input's size."""
        height, width = self.size
        if self.short_px is None:
            return picture.resize((width, height), Image.Resampling.BILINEAR)
        picture = scaled(picture, self.short_px)
        left, top = (picture.width - width) // 2, (picture.height - height) // 2
        return picture.crop((left, top, left + width, top + height))

    def document(self, layout: Layout) -> dict[str, object]:
        """The JSON document of a file whose tensors have this layout."""
        return {
            "input": INPUT,
            "layout": layout,
            "height": self.size.height,
            "width": self.size.width,
            **self._pixels(),
            **self._resize(),
            **({"classes": list(self.classes)} if self.classes else {}),
            "output": OUTPUT,
            "output_form": self.output,
            "output_shape": list(self._shape(layout)),
            "output_meaning": self.meaning,
        }

    def text(self, layout: Layout) -> str:
        """The JSON document as text."""
        return json.dumps(self.document(layout), ensure_ascii=False)

    def lines(self) -> Iterator[str]:
        """A line about the input and a line about the output."""
        steps = [f"{self.size.height} x {self.size.width} px"]
        if self.normalization is not None:
            mean, deviation = (_channels_text(values) for values in NORMALIZATIONS[self.normalization])
            steps += [*self._resize_text(), f"{CHANNELS}, value / 255, mean {mean}, standard deviation {deviation}"]
        yield f"input: {'; '.join(steps)}"
        names = ", ".join(self.classes[:SHOWN_CLASSES])
        more = f" and {len(self.classes) - SHOWN_CLASSES} more" if len(self.classes) > SHOWN_CLASSES else ""
        text = output_text(self.output, self.output_shape, self.meaning)
        yield f"{text}; classes: {names}{more}" if names else text

    def _resize_text(self) -> Iterator[str]:
        if self.is_whole:
            yield "the whole image, resized (bilinear)"
        elif self.short_px is not None:
            cropped = ", center crop" if self.short_px > max(self.size) else ", center square"
            yield f"short side scaled to {self.short_px} px (bicubic){cropped}"

    def _pixels(self) -> dict[str, object]:
        if self.normalization is None:
            return {}
        mean, deviation = NORMALIZATIONS[self.normalization]
        return {"channels": CHANNELS, "value_range": [0, 1], "mean": list(mean), "std": list(deviation)}

    def _resize(self) -> dict[str, object]:
        if self.is_whole:
            return {"resize": "whole image", "interpolation": "bilinear", "exif_orientation": False}
        if self.short_px is None:
            return {}
        return {
            "resize": "short side, then center crop",
            "short_side": self.short_px,
            "interpolation": "bicubic",
            "largest_aspect": LONGEST,
            "exif_orientation": True,
        }

    def _shape(self, layout: Layout) -> tuple[int, ...]:
        shape = self.output_shape
        return (*shape[1:], shape[0]) if layout == "NHWC" and len(shape) == 3 else shape


def _channels_text(values: tuple[float, float, float]) -> str:
    """The values of the channels, or the value of all of them."""
    return ", ".join(f"{value:g}" for value in (values if len(set(values)) > 1 else values[:1]))
