"""Answers that are the same for every image, derived from training annotations: boxes and masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from mnv2search.data.loaded_scenes import VOID, LoadedScenes
from mnv2search.model.boxes import ious

# Numbers of boxes of a class in a constant answer, and the most in total, which an SSDLite head returns by default.
BOX_COUNTS, MOST_BOXES = (1, 2, 4, 8, 16, 32), 100
# Most boxes of a class, and most masks, that constant answers are derived from.
MOST_EXAMPLES = 2000
MEAN_STEPS = 20
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


def clustered(boxes: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """At most `count` cluster centres (K, 4) of boxes (M, 4) by corners, and the share of the boxes in each (K,).

    The distance is 1 - IoU, centres are means, and the first centres are chosen by the farthest distance from the
    earlier ones; clusters without boxes are left out.

    Source: Redmon and Farhadi, arXiv 1612.08242, section 2 (dimension clusters).
    """
    boxes = boxes[:: -(-len(boxes) // MOST_EXAMPLES)]
    centres = boxes.mean(0, keepdim=True)
    while len(centres) < min(count, len(boxes)):
        nearest = ious(boxes, centres).amax(1)
        centres = torch.cat([centres, boxes[nearest.argmin()][None]])
    own = ious(boxes, centres).argmax(1)
    for _ in range(MEAN_STEPS):
        used = torch.unique(own)
        centres = torch.stack([boxes[own == k].mean(0) for k in used])
        before, own = torch.searchsorted(used, own), ious(boxes, centres).argmax(1)
        if torch.equal(before, own):
            break
    counts = torch.bincount(own, minlength=len(centres))
    return centres[counts > 0], counts[counts > 0] / len(boxes)


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
