"""Draw the prediction for an image into it."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mnv2search.untrusted import escaped

Box: TypeAlias = tuple[float, float, float, float]
Colour: TypeAlias = tuple[int, int, int]
Font: TypeAlias = ImageFont.ImageFont | ImageFont.FreeTypeFont

MOST_BOXES = 30
"""More than these hide the image."""
# A hundred different colours, the neighbours far apart: steps of the golden angle around the circle.
HUE_STEP = 0.381966
MASK_SHARE = 0.5
# Height of letters relative to the shorter side of the image, and its limits in px.
LETTERS, SMALLEST_PX, LARGEST_PX = 1 / 28, 11, 40
MARGIN_PX = 2
# Longest label in a picture, in characters.
LONGEST_LABEL = 80
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
# Above this luminance, 0 to 255, letters are black. Source of the weights: ITU-R BT.601.
LIGHT, LUMINANCE = 140, (0.299, 0.587, 0.114)


class Label(NamedTuple):
    """A class to draw; without a box in px, its text goes to the upper left corner of the image."""

    number: int
    text: str
    box: Box | None = None


def draw_prediction(
    picture: Image.Image, labels: Sequence[Label], mask: NDArray[np.int64] | None = None
) -> Image.Image:
    """A copy of an image with labels, the first `MOST_BOXES` boxes, and a mask (H, W) in the colours of the classes.

    Labels are in descending order of their score; those with a box are written outside of it if there is room.
    """
    if mask is None:
        shown = picture.copy()
    else:
        palette = np.array([_colour(number) for number in range(int(mask.max()) + 1)], np.uint8)
        shown = Image.blend(picture, Image.fromarray(palette[mask]), MASK_SHARE)
    pen, size = ImageDraw.Draw(shown), _letters_px(picture)
    font = _font(size)
    boxed = [(label.box, label) for label in labels if label.box is not None][:MOST_BOXES]
    for (x0, y0, x1, y1), label in boxed:
        pen.rectangle((x0, y0, max(x1, x0), max(y1, y0)), outline=_colour(label.number), width=2)
    for box, label in reversed(boxed):  # the best lies on top
        text = _line(label.text)
        _write(pen, _place(box, pen.textbbox((0, 0), text, font=font), picture), text, font, _colour(label.number))
    for line, label in enumerate(label for label in labels if label.box is None):
        at = MARGIN_PX, MARGIN_PX + line * (size + 3 * MARGIN_PX)
        _write(pen, at, _line(label.text), font, BLACK if mask is None else _colour(label.number))
    return shown


def _line(text: str) -> str:
    """A class name as a short, printable label."""
    return escaped(" ".join(text.split()))[:LONGEST_LABEL]


def _place(box: Box, letters: Box, picture: Image.Image) -> tuple[float, float]:
    """Above the box, or else below it, or else in its upper corner; never beyond the right side."""
    x0, y0, _, y1 = box
    width, height = letters[2] + 2 * MARGIN_PX, letters[3] + 2 * MARGIN_PX
    x = max(0.0, min(x0, picture.width - width))
    if y0 >= height:
        return x, y0 - height
    return (x, y1 + 1) if y1 + 1 + height <= picture.height else (x, y0)


def _write(pen: ImageDraw.ImageDraw, at: tuple[float, float], text: str, font: Font, colour: Colour) -> None:
    """Write a text on a background of that colour."""
    inside = at[0] + MARGIN_PX, at[1] + MARGIN_PX
    x0, y0, x1, y1 = pen.textbbox(inside, text, font=font)
    pen.rectangle((x0 - MARGIN_PX, y0 - MARGIN_PX, x1 + MARGIN_PX, y1 + MARGIN_PX), fill=colour)
    light = sum(weight * value for weight, value in zip(LUMINANCE, colour, strict=True)) > LIGHT
    pen.text(inside, text, fill=BLACK if light else WHITE, font=font)


def _letters_px(picture: Image.Image) -> int:
    return max(SMALLEST_PX, min(LARGEST_PX, round(min(picture.size) * LETTERS)))


@lru_cache(maxsize=8)
def _font(size_px: int) -> Font:
    return ImageFont.load_default(size=size_px)


def _colour(number: int) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(number * HUE_STEP % 1.0, 0.75, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)
