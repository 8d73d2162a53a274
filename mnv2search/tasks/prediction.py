"""Predictions of a network for one image, and drawing them into the image."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from mnv2search.data.transforms import normalised
from mnv2search.model.build import MobileNet
from mnv2search.untrusted import escaped

Box: TypeAlias = tuple[float, float, float, float]
Colour: TypeAlias = tuple[int, int, int]
Font: TypeAlias = ImageFont.ImageFont | ImageFont.FreeTypeFont

MOST_BOXES = 30
"""Most boxes that are drawn; more would hide the image."""
# Hue difference of successive classes, the golden angle: a hundred colours differ, and successive ones differ most.
HUE_STEP = 0.381966
MASK_SHARE = 0.5
# Height of text relative to the shorter side of the image, and its limits in px.
LETTERS, SMALLEST_PX, LARGEST_PX = 1 / 28, 11, 40
MARGIN_PX = 2
# Longest label in a picture, in characters.
LONGEST_LABEL = 80
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
# Text is black above this luminance, 0 to 255. Source of the weights: ITU-R BT.601.
LIGHT, LUMINANCE = 140, (0.299, 0.587, 0.114)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A predicted class.

    Attributes:
        score: 0 to 1; for segmentation, the share of the image.
        box: corners in px of the image; None except for detectors.
    """

    name: str
    score: float
    box: Box | None = None

    def __str__(self) -> str:
        """The class with its score in percent.

        >>> str(Found(name="t_shirt", score=0.174))
        't_shirt 17 %'
        """
        return f"{self.name} {100 * self.score:.0f} %"


class Predicted(NamedTuple):
    """Predicted classes of an image, highest score first, and a picture with the predictions drawn."""

    found: tuple[Found, ...]
    picture: Image.Image


@torch.no_grad()
def outputs_of(model: MobileNet, picture: Image.Image, normalization: str) -> Tensor:
    """The network's predictions, with batch size 1, for an image resized to its input size."""
    size = model.spec.size
    pixels = np.asarray(picture.resize((size.width, size.height), Image.Resampling.BILINEAR)).copy()
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    return model.predictions(normalised(images, normalization))


def drawn(
    picture: Image.Image,
    found: Sequence[Found],
    numbers: Sequence[int] | None = None,
    mask: NDArray[np.int64] | None = None,
) -> Predicted:
    """Draw the first `MOST_BOXES` boxes, or a mask (H, W), into a copy of the image.

    `found` is sorted by descending score; colours are chosen by class `numbers`. The label of a box is outside of the
    box if there is room; labels without a box are in the upper left corner.
    """
    if mask is None:
        shown = picture.copy()
    else:
        palette = np.array([_colour(number) for number in range(int(mask.max()) + 1)], np.uint8)
        shown = Image.blend(picture, Image.fromarray(palette[mask]), MASK_SHARE)
    size = max(SMALLEST_PX, min(LARGEST_PX, round(min(picture.size) * LETTERS)))
    pen, font = ImageDraw.Draw(shown), _font(size)
    coloured = list(zip(map(_colour, range(len(found)) if numbers is None else numbers), found, strict=True))
    boxed = [(one.box, colour, one) for colour, one in coloured if one.box is not None][:MOST_BOXES]
    for (x0, y0, x1, y1), colour, _ in boxed:
        pen.rectangle((x0, y0, max(x1, x0), max(y1, y0)), outline=colour, width=2)
    for box, colour, one in reversed(boxed):  # the best is on top
        text = _line(one)
        _write(pen, _place(box, pen.textbbox((0, 0), text, font=font), picture), text, font, colour)
    for line, (colour, one) in enumerate((colour, one) for colour, one in coloured if one.box is None):
        at = MARGIN_PX, MARGIN_PX + line * (size + 3 * MARGIN_PX)
        _write(pen, at, _line(one), font, BLACK if mask is None else colour)
    return Predicted(tuple(found), shown)


def _line(found: Found) -> str:
    """A short, printable label."""
    return escaped(" ".join(str(found).split()))[:LONGEST_LABEL]


def _place(box: Box, letters: Box, picture: Image.Image) -> tuple[float, float]:
    """Position of a label: above the box, else below, else in its upper corner; never beyond the right side."""
    x0, y0, _, y1 = box
    width, height = letters[2] + 2 * MARGIN_PX, letters[3] + 2 * MARGIN_PX
    x = max(0.0, min(x0, picture.width - width))
    if y0 >= height:
        return x, y0 - height
    return (x, y1 + 1) if y1 + 1 + height <= picture.height else (x, y0)


def _write(pen: ImageDraw.ImageDraw, at: tuple[float, float], text: str, font: Font, colour: Colour) -> None:
    """Write a text on a coloured background."""
    inside = at[0] + MARGIN_PX, at[1] + MARGIN_PX
    x0, y0, x1, y1 = pen.textbbox(inside, text, font=font)
    pen.rectangle((x0 - MARGIN_PX, y0 - MARGIN_PX, x1 + MARGIN_PX, y1 + MARGIN_PX), fill=colour)
    light = sum(weight * value for weight, value in zip(LUMINANCE, colour, strict=True)) > LIGHT
    pen.text(inside, text, fill=BLACK if light else WHITE, font=font)


@lru_cache(maxsize=8)
def _font(size_px: int) -> Font:
    return ImageFont.load_default(size=size_px)


def _colour(number: int) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(number * HUE_STEP % 1.0, 0.75, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)
