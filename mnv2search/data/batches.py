"""Prefetched batches of images with labels, boxes or masks, reproducible by the seed."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from mnv2search.data.loaded_scenes import LoadedScenes, SceneBatch
from mnv2search.data.pixels import Pixels
from mnv2search.data.transforms import Transform, center_crop, crop_all, random_crop
from mnv2search.recipe import NORMALIZATIONS

T = TypeVar("T")
# Number of threads that prepare batches for a GPU; on a CPU, the network needs the cores.
MOST_WORKERS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """Prefetching settings: maximum number of waiting batches, number of threads, and use of pinned memory."""

    ahead: int = 4
    workers: int = 1
    pinned: bool = False


ONE_THREAD = Feed()


def feed_of(device: str) -> Feed:
    """The prefetching settings for a torch device.

    >>> feed_of("cpu")
    Feed(ahead=4, workers=1, pinned=False)
    """
    if not device.startswith("cuda"):
        return Feed()
    workers = max(1, min(MOST_WORKERS, (os.cpu_count() or 1) - 1))
    return Feed(ahead=2 * workers, workers=workers, pinned=True)


class Epoch(NamedTuple):
    """One pass over the examples, or the rest of a pass.

    Attributes:
        number: index of the epoch, from 0.
        first: index of the first batch.
        share: (i, n) yields the i-th of n parts of every batch.
    """

    batch: int
    seed: int
    number: int
    first: int = 0
    share: tuple[int, int] = (0, 1)
    feed: Feed = ONE_THREAD


class Batch(NamedTuple):
    """Images (N, 3, S, S) in channels_last, normalised, and labels (N,)."""

    images: Tensor
    labels: Tensor


def training_batches(pixels: Pixels, transform: Transform, epoch: Epoch) -> Generator[Batch]:
    """One epoch of full batches in random order; the remaining images are skipped.

    All draws depend only on the seed, the epoch and the index of the batch, so that an epoch can be resumed. A share
    uses the crops of the whole batch. An image and its mixup partner, at the mirrored position of the batch, are in
    the same part.
    """
    batch, seed, epoch_number, first, share, feed = epoch
    order = _order(len(pixels), epoch)

    def make(number: int) -> Batch:
        generator = np.random.default_rng([seed, epoch_number, number])
        chosen = order[number * batch : (number + 1) * batch]
        # drawn for the whole batch, so that the crops do not depend on the share
        crops = [random_crop(int(high), int(wide), transform, generator) for high, wide in pixels.shapes[chosen]]
        own = [place for place in range(batch) if min(place, batch - 1 - place) % share[1] == share[0]]
        images = [pixels.image(int(chosen[place])) for place in own]
        cropped = crop_all(images, transform, [crops[place] for place in own])
        return _batch(cropped, pixels.labels[chosen[own]], transform, pinned=feed.pinned)

    return made_ahead(make, range(first, len(pixels) // batch), feed)


def evaluation_batches(
    pixels: Pixels, transform: Transform, *, batch: int, indices: Sequence[int] | None = None, feed: Feed = ONE_THREAD
) -> Generator[Batch]:
    """The centre crops of all images, or of the images at `indices`, in order; the last batch may be smaller."""
    chosen = np.arange(len(pixels)) if indices is None else np.asarray(indices)

    def make(number: int) -> Batch:
        own = chosen[number * batch : (number + 1) * batch]
        images = torch.stack([center_crop(pixels.image(int(i)), transform.side, pixels.short_px) for i in own])
        return _batch(images, pixels.labels[own], transform, pinned=feed.pinned)

    return made_ahead(make, range(math.ceil(len(chosen) / batch)), feed)


def scene_batches(scenes: LoadedScenes, epoch: Epoch) -> Generator[SceneBatch]:
    """One epoch of full batches in random order; the remaining scenes are skipped."""
    order, batch = _order(len(scenes), epoch), epoch.batch
    for number in range(epoch.first, len(scenes) // batch):
        yield scenes.batch(order[number * batch : (number + 1) * batch].tolist())


def made_ahead(make: Callable[[int], T], numbers: Iterable[int], feed: Feed) -> Generator[T]:
    """The results of ``make(number)`` for every number, in order.

    >>> list(made_ahead(lambda n: n * n, range(5), Feed(ahead=3, workers=2)))
    [0, 1, 4, 9, 16]
    """
    if not feed.ahead:
        yield from map(make, numbers)
        return
    left = iter(numbers)
    with ThreadPoolExecutor(feed.workers) as pool:
        waiting: deque[Future[T]] = deque(pool.submit(make, number) for number in islice(left, feed.ahead))
        try:
            while waiting:
                found = waiting.popleft().result()
                waiting.extend(pool.submit(make, number) for number in islice(left, 1))
                yield found
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _order(count: int, epoch: Epoch) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return np.random.default_rng([epoch.seed, epoch.number]).permutation(count)


def _batch(images: Tensor, labels: object, transform: Transform, *, pinned: bool) -> Batch:
    mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in NORMALIZATIONS[transform.normalization])
    normalised = images.div_(255.0).sub_(mean).div_(deviation)  # in place: this is a large part of the time
    made = Batch(normalised.contiguous(memory_format=torch.channels_last), torch.as_tensor(labels, dtype=torch.long))
    return Batch(made.images.pin_memory(), made.labels.pin_memory()) if pinned else made
