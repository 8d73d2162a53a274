"""Batches of images with labels, boxes or masks; the same ones for the same seed."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mnv2search.data.loaded_scenes import LoadedScenes, SceneBatch
from mnv2search.data.pixels import Pixels
from mnv2search.data.prefetch import ONE_THREAD, Feed, made_ahead
from mnv2search.data.transforms import Transform, center_crop, crop_all, random_crop
from mnv2search.model.normalization import NORMALIZATIONS


class Batch(NamedTuple):
    """Images (N, 3, S, S) in channels_last, normalised, and labels (N,)."""

    images: Tensor
    labels: Tensor


def training_batches(
    pixels: Pixels,
    transform: Transform,
    *,
    batch: int,
    seed: int,
    epoch: int,
    first: int = 0,
    share: tuple[int, int] = (0, 1),
    feed: Feed = ONE_THREAD,
) -> Generator[Batch]:
    """One epoch of full batches in random order, from number `first` on; the remaining images are left out.

    All draws depend on the seed, the epoch and the number of the batch alone, so that an epoch can be resumed. The
    share (i, n) is the i-th of n parts of every batch, with the crops of the whole batch; an image and its mirror
    position in the batch, with which mixup mixes it, are in the same part.
    """
    order = _order(len(pixels), seed, epoch)

    def make(number: int) -> Batch:
        generator = np.random.default_rng([seed, epoch, number])
        chosen = order[number * batch : (number + 1) * batch]
        # drawn for the whole batch, so that each part has the crops of the whole
        crops = [random_crop(int(high), int(wide), transform, generator) for high, wide in pixels.shapes[chosen]]
        own = [place for place in range(batch) if min(place, batch - 1 - place) % share[1] == share[0]]
        images = [pixels.image(int(chosen[place])) for place in own]
        cropped = crop_all(images, transform, [crops[place] for place in own])
        return _batch(cropped, pixels.labels[chosen[own]], transform, pinned=feed.pinned)

    return made_ahead(make, range(first, len(pixels) // batch), feed)


def evaluation_batches(
    pixels: Pixels, transform: Transform, *, batch: int, indices: Sequence[int] | None = None, feed: Feed = ONE_THREAD
) -> Generator[Batch]:
    """The centre of every image, or of those with some indices, in order; the last batch may be smaller."""
    chosen = np.arange(len(pixels)) if indices is None else np.asarray(indices)

    def make(number: int) -> Batch:
        own = chosen[number * batch : (number + 1) * batch]
        images = torch.stack([center_crop(pixels.image(int(i)), transform.side, pixels.short_px) for i in own])
        return _batch(images, pixels.labels[own], transform, pinned=feed.pinned)

    return made_ahead(make, range(math.ceil(len(chosen) / batch)), feed)


def scene_batches(
    scenes: LoadedScenes, *, batch: int, seed: int, epoch: int, first: int = 0
) -> Generator[SceneBatch]:
    """One epoch of full batches in random order, from number `first` on; the remaining scenes are left out."""
    order = _order(len(scenes), seed, epoch)
    for number in range(first, len(scenes) // batch):
        yield scenes.batch(order[number * batch : (number + 1) * batch].tolist())


def _order(count: int, seed: int, epoch: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return np.random.default_rng([seed, epoch]).permutation(count)


def _batch(images: Tensor, labels: object, transform: Transform, *, pinned: bool) -> Batch:
    mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in NORMALIZATIONS[transform.normalization])
    normalised = images.div_(255.0).sub_(mean).div_(deviation)  # in place: this takes a good part of the time
    made = Batch(normalised.contiguous(memory_format=torch.channels_last), torch.as_tensor(labels, dtype=torch.long))
    return Batch(made.images.pin_memory(), made.labels.pin_memory()) if pinned else made
