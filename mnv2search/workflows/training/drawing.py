"""What was found in an image, drawn into it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mnv2search.untrusted import escaped

__all__ = ["MOST_BOXES", "with_boxes", "with_lines", "with_mask"]

Box = tuple[float, float, float, float]
Colour = tuple[int, int, int]

MOST_BOXES = 30
"""More than these hide the image."""
# A hundred different colours, the neighbours far apart: steps of the golden angle around the circle.
HUE_STEP = 0.381966
MASK_SHARE = 0.5
# Height of letters over the shorter side of the image, and its limits in px.
LETTERS, SMALLEST_PX, LARGEST_PX = 1 / 28, 11, 40
MARGIN_PX = 2
# Longest label in a picture, in characters.
LONGEST_LABEL = 80
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
# Above this luminance, 0 to 255, letters are black. Source of the weights: ITU-R BT.601.
LIGHT, LUMINANCE = 140, (0.299, 0.587, 0.114)


def with_boxes(picture: Image.Image, boxes: Sequence[tuple[Box, int, str]]) -> Image.Image:
    """The image with the first `MOST_BOXES` boxes, each with its label outside of it where there is room.

    Args:
        picture: the image.
        boxes: corners in px, the number of the class, and the label; best first.
    """
    shown = picture.copy()
    pen, font = ImageDraw.Draw(shown), _font(_letters_px(picture))
    first = [(box, number, _line(label)) for box, number, label in boxes[:MOST_BOXES]]
    for (x0, y0, x1, y1), number, _ in first:
        pen.rectangle((x0, y0, max(x1, x0), max(y1, y0)), outline=_colour(number), width=2)
    for box, number, label in reversed(first):  # the best lies on top
        _written(pen, _place(box, pen.textbbox((0, 0), label, font=font), picture), label, font, _colour(number))
    return shown


def with_mask(
    picture: Image.Image, numbers: NDArray[np.int64], *, classes: int, lines: Sequence[tuple[int, str]]
) -> Image.Image:
    """The image under the colours of the classes of its pixels (H, W), with lines in these colours."""
    palette = np.array([_colour(number) for number in range(classes)], np.uint8)
    shown = Image.blend(picture, Image.fromarray(palette[numbers]), MASK_SHARE)
    _listed(shown, [(text, _colour(number)) for number, text in lines])
    return shown


def with_lines(picture: Image.Image, lines: Sequence[str]) -> Image.Image:
    """The image with lines of text in its upper left corner."""
    shown = picture.copy()
    _listed(shown, [(text, BLACK) for text in lines])
    return shown


def _listed(shown: Image.Image, lines: Sequence[tuple[str, Colour]]) -> None:
    pen, size = ImageDraw.Draw(shown), _letters_px(shown)
    for line, (text, colour) in enumerate(lines):
        at = MARGIN_PX, MARGIN_PX + line * (size + 3 * MARGIN_PX)
        _written(pen, at, _line(text), _font(size), colour)


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


def _written(
    pen: ImageDraw.ImageDraw,
    at: tuple[float, float],
    text: str,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    colour: Colour,
) -> None:
    """Text on a ground of that colour, no larger than the text."""
    inside = at[0] + MARGIN_PX, at[1] + MARGIN_PX
    x0, y0, x1, y1 = pen.textbbox(inside, text, font=font)
    pen.rectangle((x0 - MARGIN_PX, y0 - MARGIN_PX, x1 + MARGIN_PX, y1 + MARGIN_PX), fill=colour)
    light = sum(weight * value for weight, value in zip(LUMINANCE, colour, strict=True)) > LIGHT
    pen.text(inside, text, fill=BLACK if light else WHITE, font=font)


def _letters_px(picture: Image.Image) -> int:
    return max(SMALLEST_PX, min(LARGEST_PX, round(min(picture.size) * LETTERS)))


@lru_cache(maxsize=8)
def _font(size_px: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size=size_px)


def _colour(number: int) -> Colour:
    import colorsys

    red, green, blue = colorsys.hsv_to_rgb(number * HUE_STEP % 1.0, 0.75, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)
