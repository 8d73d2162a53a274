"""Answers that are the same for every image, derived from training annotations: boxes and masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from mnv2search.data.loaded_scenes import VOID, LoadedScenes
from mnv2search.tasks.box_clusters import MOST_EXAMPLES, clustered

# Numbers of boxes of a class in a constant answer, and the most in total, which an SSDLite head returns by default.
BOX_COUNTS, MOST_BOXES = (1, 2, 4, 8, 16, 32), 100
# Side of a constant mask in px; it is enlarged to the size of each image.
MASK_SIDE = 64


def constant_boxes(train: LoadedScenes, classes: int) -> Iterator[Tensor]:
    """Detections (M, 6) with corners relative to the sides, score and class, for increasing numbers of boxes a class.

    The boxes of a class are its cluster centres; the score is the mean number of boxes of a cluster in an image, at
    most 1.
    """
    corners, labels = torch.cat(train.corners), torch.tensor([label for s in train.scenes for label in s.labels])
    by_class = {k: corners[labels == k] for k in range(classes) if bool((labels == k).any())}
    for count in BOX_COUNTS:
        if count == 1 or count * len(by_class) <= MOST_BOXES:
            rows = [_rows(boxes, k, count, len(train)) for k, boxes in by_class.items()]
            yield torch.cat(rows) if rows else torch.zeros(0, 6)


def _rows(boxes: Tensor, label: int, count: int, images: int) -> Tensor:
    centres, shares = clustered(boxes, count)
    scores = (shares * len(boxes) / images).clamp(max=1.0)
    return torch.cat([centres, scores[:, None], torch.full((len(centres), 1), float(label))], dim=1)


def constant_masks(train: LoadedScenes, classes: int) -> Iterator[Tensor]:
    """Masks (S, S) with the most common class, first of all pixels, then of each position."""
    counts = torch.zeros(classes, MASK_SIDE, MASK_SIDE)
    for number in _some(len(train)):
        mask = Image.fromarray(train.truth(number)).resize((MASK_SIDE, MASK_SIDE), Image.Resampling.NEAREST)
        labels = torch.from_numpy(np.asarray(mask).copy()).long()
        known = (labels != VOID) & (labels < classes)
        slots = functional.one_hot(torch.where(known, labels, 0), classes).permute(2, 0, 1)
        counts += slots * known
    yield torch.full((MASK_SIDE, MASK_SIDE), float(counts.sum((1, 2)).argmax()))
    yield counts.argmax(0).float()


def _some(count: int) -> Sequence[int]:
    return range(0, count, -(-count // MOST_EXAMPLES))
