"""Batches of images as tensors: cut, mirrored and normalised, the same ones every time for the same seed."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mnv2search.data.pixels import Bytes, Pixels
from mnv2search.data.prefetch import ONE_THREAD, Feed, made_ahead
from mnv2search.model.normalization import NORMALIZATIONS

__all__ = ["CROP", "NORMALIZATIONS", "Batch", "Cutting", "evaluation_batches", "training_batches"]

# Images are stored with a short side of the network's side over this, and evaluated on the middle of them.
CROP = 0.875
CROP_TRIES = 10


class Batch(NamedTuple):
    """Images (N, 3, S, S) in channels_last, normalised, and labels (N,)."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutting:
    """How images become tensors.

    Attributes:
        side: of the network's input in px.
        normalization: name of one of `NORMALIZATIONS`.
        least_area: of an image that a random cut keeps; 1 cuts out the middle as for evaluation.
        aspect: the most that a cut is longer than wide, or wider than long.
        mirror: half of the images, left and right swapped.
        shift_px: cut at a random place after padding by so many px, in place of random areas; 0 does not. Usual
            for images of 32 px.
    """

    side: int
    normalization: str = "imagenet"
    least_area: float = 0.25
    aspect: float = 4 / 3
    mirror: bool = True
    shift_px: int = 0


def training_batches(
    pixels: Pixels,
    cutting: Cutting,
    *,
    batch: int,
    seed: int,
    epoch: int,
    first: int = 0,
    share: tuple[int, int] = (0, 1),
    feed: Feed = ONE_THREAD,
) -> Generator[Batch]:
    """One epoch of full batches in random order, from batch number `first` on.

    What is drawn depends on the seed, the epoch and the number of the batch and on nothing else, so that an epoch may
    be resumed in the middle. The last images that fill no batch are left out.

    Args:
        pixels: decoded images.
        cutting: how they are cut.
        batch: images in a batch.
        seed: of everything that is drawn.
        epoch: counted from 0.
        first: number of the first batch.
        share: (i, n) makes the i-th of n parts of every batch, cut as in the whole. A part holds with an image also
            the one that stands as far from the end of the batch, with which mixup mixes it.
        feed: how batches are made before they are asked for.
    """
    order = np.random.default_rng([seed, epoch]).permutation(len(pixels))

    def make(number: int) -> Batch:
        generator = np.random.default_rng([seed, epoch, number])
        chosen = order[number * batch : (number + 1) * batch]
        # drawn for the whole batch, so that a part of it is cut as the whole is
        cuts = [_drawn(int(high), int(wide), cutting, generator) for high, wide in pixels.shapes[chosen]]
        own = [place for place in range(batch) if min(place, batch - 1 - place) % share[1] == share[0]]
        found = [pixels.image(int(chosen[place])) for place in own]
        images = _all_cut(found, cutting, [cuts[place] for place in own])
        return _finished(images, pixels.labels[chosen[own]], cutting, pinned=feed.pinned)

    return made_ahead(make, range(first, len(pixels) // batch), feed)


def evaluation_batches(
    pixels: Pixels, cutting: Cutting, *, batch: int, indices: Sequence[int] | None = None, feed: Feed = ONE_THREAD
) -> Generator[Batch]:
    """The middle of every image, in order; the last batch may be smaller.

    Args:
        pixels: decoded images.
        cutting: its side and normalisation count.
        batch: images in a batch.
        indices: of the images; None takes all.
        feed: see `training_batches`.
    """
    chosen = np.arange(len(pixels)) if indices is None else np.asarray(indices)

    def make(number: int) -> Batch:
        own = chosen[number * batch : (number + 1) * batch]
        images = torch.stack([_middle(pixels.image(int(i)), cutting.side, pixels.short_px) for i in own])
        return _finished(images, pixels.labels[own], cutting, pinned=feed.pinned)

    return made_ahead(make, range(math.ceil(len(chosen) / batch)), feed)


def _finished(images: Tensor, labels: object, cutting: Cutting, *, pinned: bool) -> Batch:
    mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in NORMALIZATIONS[cutting.normalization])
    normalised = images.div_(255.0).sub_(mean).div_(deviation)
    made = Batch(normalised.contiguous(memory_format=torch.channels_last), torch.as_tensor(labels, dtype=torch.long))
    return Batch(made.images.pin_memory(), made.labels.pin_memory()) if pinned else made


class _Cut(NamedTuple):
    """Where an image is cut: for a shift the place in the padded image, else the part of it."""

    top: int
    left: int
    height: int
    width: int
    mirrored: bool


def _drawn(height: int, width: int, cutting: Cutting, generator: np.random.Generator) -> _Cut:
    """A random part of an image of this size."""
    if cutting.shift_px:
        top, left = generator.integers(0, 2 * cutting.shift_px + 1, 2)
        place = int(top), int(left), cutting.side, cutting.side
    elif cutting.least_area >= 1:
        place = 0, 0, height, width
    else:
        place = _place(height, width, cutting, generator)
    return _Cut(*place, mirrored=cutting.mirror and bool(generator.random() < 0.5))


def _all_cut(images: Sequence[Bytes], cutting: Cutting, cuts: Sequence[_Cut]) -> Tensor:
    """The part of every image, (N, 3, S, S), 0 to 255."""
    side = cutting.side
    if cutting.shift_px and all(image.shape[:2] == (side, side) for image in images):
        return _all_shifted(np.stack(images), cutting.shift_px, cuts)
    return torch.stack([_cut(image, cutting, cut) for image, cut in zip(images, cuts, strict=True)])


def _all_shifted(images: Bytes, shift_px: int, cuts: Sequence[_Cut]) -> Tensor:
    """What `_cut` makes of images (N, S, S, 3) that have the network's size, with fewer calls, which take longest."""
    side, around = images.shape[1], (shift_px, shift_px)
    padded = np.pad(images, ((0, 0), around, around, (0, 0)))
    shifted = np.empty_like(images)
    for place, cut in enumerate(cuts):
        part = padded[place, cut.top : cut.top + side, cut.left : cut.left + side]
        shifted[place] = part[:, ::-1] if cut.mirrored else part
    return torch.from_numpy(shifted).permute(0, 3, 1, 2).float()


def _cut(image: Bytes, cutting: Cutting, cut: _Cut) -> Tensor:
    """The part of the image, (3, S, S), 0 to 255."""
    if cutting.shift_px:
        tensor = functional.pad(_middle(image, cutting.side, cutting.side), [cutting.shift_px] * 4)
        tensor = tensor[:, cut.top : cut.top + cut.height, cut.left : cut.left + cut.width]
    elif cutting.least_area >= 1:
        tensor = _middle(image, cutting.side, min(cut.height, cut.width))
    else:
        tensor = _scaled(image[cut.top : cut.top + cut.height, cut.left : cut.left + cut.width], cutting.side)
    return tensor.flip(-1) if cut.mirrored else tensor


def _place(height: int, width: int, cutting: Cutting, generator: np.random.Generator) -> tuple[int, int, int, int]:
    """Top, left, height and width of a random part. Source: Szegedy et al., arXiv 1409.4842, section 6."""
    for _ in range(CROP_TRIES):
        area = height * width * generator.uniform(cutting.least_area, 1.0)
        aspect = math.exp(generator.uniform(-math.log(cutting.aspect), math.log(cutting.aspect)))
        wide, high = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < wide <= width and 0 < high <= height:
            top, left = generator.integers(0, height - high + 1), generator.integers(0, width - wide + 1)
            return int(top), int(left), high, wide
    side = min(height, width)
    return (height - side) // 2, (width - side) // 2, side, side


def _middle(image: Bytes, side: int, short_px: int) -> Tensor:
    """The middle of an image, (3, S, S): as much as the network sees when it is evaluated."""
    height, width = image.shape[:2]
    cut = min(height, width) if short_px <= side else round(min(height, width) * CROP)
    top, left = (height - cut) // 2, (width - cut) // 2
    return _scaled(image[top : top + cut, left : left + cut], side)


def _scaled(part: Bytes, side: int) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(part)).permute(2, 0, 1).float()
    if tensor.shape[-2:] == (side, side):
        return tensor
    return functional.interpolate(tensor[None], (side, side), mode="bilinear", antialias=True, align_corners=False)[0]
