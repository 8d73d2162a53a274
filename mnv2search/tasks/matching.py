"""Which anchor is to find which object, and which anchors a detector learns from."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mnv2search.model.boxes import as_corners, encoded, ious

# Source of all numbers: tensorflow/models, samples/configs/ssdlite_mobilenet_v2_coco.config.
MATCHED_IOU = 0.5
# Negatives for a positive, and at least for an image; of two that overlap more than this only the harder one counts.
NEGATIVES, LEAST_NEGATIVES, SAME_IOU = 3, 3, 0.99


class Targets(NamedTuple):
    """What a detector should answer for one image.

    Attributes:
        boxes: (A, 4) encoded boxes; zeros where there is no object.
        classes: (A,) 0 for background, else 1 more than the class.
    """

    boxes: Tensor
    classes: Tensor


def matched(corners: Tensor, anchors: Tensor) -> Tensor:
    """(A,) for every anchor the number of the object that it is to find, or -1 for none.

    An anchor takes the object that it overlaps most, if by half or more. The anchor that overlaps an object most
    takes it in any case; where it does so for several, it takes the first of them.

    Corners (M, 4) are those of the objects, anchors (A, 4) have centres and sides.

    Source: tensorflow/models, object_detection/matchers/argmax_matcher.py with `force_match_for_each_row`.
    """
    if not len(corners):
        return torch.full((len(anchors),), -1, dtype=torch.long, device=anchors.device)
    overlaps = ious(corners, as_corners(anchors))
    best, found = overlaps.max(dim=0)
    found = torch.where(best >= MATCHED_IOU, found, -1)
    wanted = overlaps.argmax(dim=1).tolist()
    for number in reversed(range(len(wanted))):
        found[wanted[number]] = number
    return found


def reached(corners: Tensor, anchors: Tensor) -> Tensor:
    """(M,) whether some anchor overlaps an object by half or more, so that it is learned from by more than one."""
    return ious(corners, as_corners(anchors)).amax(dim=1) >= MATCHED_IOU


def targets_of(corners: Tensor, labels: Tensor, anchors: Tensor) -> Targets:
    """The targets of one image.

    Corners (M, 4) are relative to the image's sides, labels (M,) count from 0, anchors (A, 4) have centres and sides.
    """
    found = matched(corners, anchors)
    if not len(corners):
        return Targets(torch.zeros_like(anchors), torch.zeros_like(found))
    is_object, at = found >= 0, found.clamp(min=0)
    boxes = torch.where(is_object[:, None], encoded(corners[at], anchors), 0.0)
    return Targets(boxes, torch.where(is_object, labels[at] + 1, 0))


def hard_negatives(losses: Tensor, classes: Tensor, corners: Tensor) -> Tensor:
    """(A,) whether an anchor is among the negatives that one image is learned from: those of the greatest loss.

    There are three for each positive, and three at least. Of negatives whose predicted boxes are all but the same
    only the first counts. All positives are learned from; TensorFlow leaves out those that repeat one another.

    Losses (A,) are those of the classes, targets (A,) are 0 for background, and corners (A, 4) are predicted.

    Source: tensorflow/models, object_detection/core/losses.py, `HardExampleMiner`.
    """
    chosen = torch.zeros_like(classes, dtype=torch.bool)
    wanted = max(LEAST_NEGATIVES, NEGATIVES * int((classes > 0).sum()))
    negatives = int((classes == 0).sum())
    order = torch.where(classes == 0, losses, -torch.inf).argsort(descending=True)[:negatives]
    taken = 0
    while taken < wanted and len(order):
        # As many as are missing at a time; those that repeat what was taken make room for the next.
        part, order = order[: wanted - taken], order[wanted - taken :]
        repeats = ious(corners[part], corners[part]).tril(-1) > SAME_IOU
        if taken:
            repeats = torch.cat([repeats, ious(corners[part], corners[chosen]) > SAME_IOU], dim=1)
        fresh = part[~repeats.any(dim=1)]
        chosen[fresh] = True
        taken += len(fresh)
    return chosen
