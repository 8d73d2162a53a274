"""Crops, shifts and flips that convert decoded images to tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mnv2search.data.pixels import Bytes
from mnv2search.recipe import NORMALIZATIONS, Recipe

# Images are cached with a short side of the network's side over this, and evaluated on their centre.
CROP = 0.875
CROP_TRIES = 10


def short_side(side: int, crop: float) -> int:
    """Short side in px of a scaled image whose center crop keeps this share.

    >>> short_side(224, CROP), short_side(32, 1.0)
    (256, 32)
    """
    return math.ceil(side / crop)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transform:
    """The conversion of images to tensors with sides of `side` px.

    Attributes:
        normalization: name of one of `NORMALIZATIONS`.
        least_area: minimum share of an image that a random crop keeps; 1 takes the centre as for evaluation.
        aspect: maximum ratio of a random crop's longer side to its shorter side.
        shift_px: padding before a random crop of the original size, instead of a crop of a random area, as usual for
            images of 32 px; 0 is off.
    """

    side: int
    normalization: str = "imagenet"
    least_area: float = 0.25
    aspect: float = 4 / 3
    mirror: bool = True
    shift_px: int = 0

    @classmethod
    def of(cls, recipe: Recipe, side: int) -> Transform:
        """The transform of a recipe's training images."""
        return cls(
            side=side,
            normalization=recipe.normalization,
            least_area=recipe.least_area,
            mirror=recipe.mirror,
            shift_px=recipe.shift_px,
        )


class Crop(NamedTuple):
    """The part of an image to take or, for a shift, its position in the padded image."""

    top: int
    left: int
    height: int
    width: int
    mirrored: bool


def normalised(images: Tensor, normalization: str) -> Tensor:
    """Images (N, 3, H, W) from 0 to 1, normalised as the network expects, in channels_last."""
    mean, deviation = (torch.tensor(v, device=images.device).view(1, 3, 1, 1) for v in NORMALIZATIONS[normalization])
    return ((images - mean) / deviation).contiguous(memory_format=torch.channels_last)


def random_crop(height: int, width: int, transform: Transform, generator: np.random.Generator) -> Crop:
    """A random crop of an image of this size."""
    if transform.shift_px:
        top, left = generator.integers(0, 2 * transform.shift_px + 1, 2)
        place = int(top), int(left), transform.side, transform.side
    elif transform.least_area >= 1:
        place = 0, 0, height, width
    else:
        place = _random_area(height, width, transform, generator)
    return Crop(*place, mirrored=transform.mirror and bool(generator.random() < 0.5))


def crop_all(images: Sequence[Bytes], transform: Transform, crops: Sequence[Crop]) -> Tensor:
    """The crop of every image, (N, 3, S, S), from 0 to 255."""
    side = transform.side
    if transform.shift_px and all(image.shape[:2] == (side, side) for image in images):
        return _shift_all(np.stack(images), transform.shift_px, crops)
    return torch.stack([_crop(image, transform, crop) for image, crop in zip(images, crops, strict=True)])


def center_crop(image: Bytes, side: int, short_px: int) -> Tensor:
    """The centre crop of an image for evaluation, (3, S, S), from 0 to 255.

    If `short_px` is that of `side`, no pixel is interpolated.
    """
    height, width = image.shape[:2]
    if short_px == short_side(side, CROP):
        size = side
    else:
        size = min(height, width) if short_px <= side else round(min(height, width) * CROP)
    top, left = (height - size) // 2, (width - size) // 2
    return _scaled(image[top : top + size, left : left + size], side)


def _shift_all(images: Bytes, shift_px: int, crops: Sequence[Crop]) -> Tensor:
    """Like `_crop` for images (N, S, S, 3) of the network's size, but faster because of fewer calls."""
    side, around = images.shape[1], (shift_px, shift_px)
    padded = np.pad(images, ((0, 0), around, around, (0, 0)))
    shifted = np.empty_like(images)
    for place, crop in enumerate(crops):
        part = padded[place, crop.top : crop.top + side, crop.left : crop.left + side]
        shifted[place] = part[:, ::-1] if crop.mirrored else part
    return torch.from_numpy(shifted).permute(0, 3, 1, 2).float()


def _crop(image: Bytes, transform: Transform, crop: Crop) -> Tensor:
    """The crop of an image, (3, S, S), from 0 to 255."""
    rows, columns = slice(crop.top, crop.top + crop.height), slice(crop.left, crop.left + crop.width)
    if transform.shift_px:
        whole = center_crop(image, transform.side, transform.side)
        tensor = functional.pad(whole, [transform.shift_px] * 4)[:, rows, columns]
    elif transform.least_area >= 1:
        tensor = center_crop(image, transform.side, min(crop.height, crop.width))
    else:
        tensor = _scaled(image[rows, columns], transform.side)
    return tensor.flip(-1) if crop.mirrored else tensor


def _random_area(
    height: int, width: int, transform: Transform, generator: np.random.Generator
) -> tuple[int, int, int, int]:
    """Top, left, height and width of a random area. Source: Szegedy et al., arXiv 1409.4842, section 6."""
    for _ in range(CROP_TRIES):
        area = height * width * generator.uniform(transform.least_area, 1.0)
        aspect = math.exp(generator.uniform(-math.log(transform.aspect), math.log(transform.aspect)))
        wide, high = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < wide <= width and 0 < high <= height:
            top, left = generator.integers(0, height - high + 1), generator.integers(0, width - wide + 1)
            return int(top), int(left), high, wide
    side = min(height, width)
    return (height - side) // 2, (width - side) // 2, side, side


def _scaled(part: Bytes, side: int) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(part)).permute(2, 0, 1).float()
    if tensor.shape[-2:] == (side, side):
        return tensor
    return functional.interpolate(tensor[None], (side, side), mode="bilinear", antialias=True, align_corners=False)[0]
