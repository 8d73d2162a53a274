"""How well a network does on images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from mnv2search.data.image_batches import Cutting, evaluation_batches
from mnv2search.data.pixels import Pixels
from mnv2search.data.prefetch import feed_of
from mnv2search.errors import StoppedError

__all__ = ["Figures", "evaluate"]

EVALUATION_BATCH = 128


@dataclass(frozen=True, slots=True)
class Figures:
    """How well a network does on some images.

    Attributes:
        top1: share whose class is named right.
        loss: cross-entropy, mean.
        count: images.
        commonest: share of the commonest class, which always answering it names right; None where it is not known.
    """

    top1: float
    loss: float
    count: int
    commonest: float | None = None

    @property
    def interval(self) -> tuple[float, float]:
        """90 % interval of the share. Source: Wilson, 1927."""
        z = 1.645
        centre = (self.top1 + z * z / (2 * self.count)) / (1 + z * z / self.count)
        half = z * math.sqrt(self.top1 * (1 - self.top1) / self.count + z * z / (4 * self.count**2))
        half /= 1 + z * z / self.count
        return max(0.0, min(self.top1, centre - half)), min(1.0, max(self.top1, centre + half))

    @property
    def beats_commonest(self) -> bool:
        """Whether the interval lies above what always answering the commonest class gives, if that is known."""
        return self.commonest is None or self.interval[0] > self.commonest


@torch.no_grad()
def evaluate(
    model: nn.Module,
    pixels: Pixels,
    cutting: Cutting,
    *,
    device: str = "cpu",
    share: tuple[int, int] = (0, 1),
    sums: Callable[[Sequence[float]], Sequence[float]] = tuple,
    stop: Callable[[], bool] = lambda: False,
    most: int | None = None,
) -> Figures:
    """How well a network does on images, cut as for evaluation; it is left in the mode that it was in.

    Args:
        model: to evaluate.
        pixels: decoded images.
        cutting: its side and normalisation count.
        device: of torch, where the network is.
        share: (i, n) evaluates the i-th of n parts of the images.
        sums: adds up values over the processes that evaluate the other parts.
        stop: asked before every batch whether to stop, where a process is alone.
        most: images; None takes all.

    Raises:
        StoppedError: it was asked to stop.
    """
    was_training = model.training
    model.eval()
    right, loss = 0.0, 0.0
    count = len(pixels) if most is None else min(most, len(pixels))
    own = range(share[0], count, share[1])
    for images, labels in evaluation_batches(
        pixels, cutting, batch=EVALUATION_BATCH, indices=own, feed=feed_of(device)
    ):
        if share[1] == 1 and stop():
            raise StoppedError("the evaluation was stopped")
        answers = model(images.to(device))
        right += float((answers.argmax(1) == labels.to(device)).sum())
        loss += float(functional.cross_entropy(answers.float(), labels.to(device), reduction="sum"))
    model.train(was_training)
    right, loss = sums([right, loss])
    commonest = float(np.bincount(pixels.labels[:count]).max()) / count
    return Figures(right / count, loss / count, count, commonest)
