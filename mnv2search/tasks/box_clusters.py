"""Clusters of boxes by intersection over union."""

from __future__ import annotations

import torch
from torch import Tensor

from mnv2search.model.boxes import ious

# Maximum number of boxes to cluster; of more, only every second, third, ... is used.
MOST_EXAMPLES = 2000
MEAN_STEPS = 20


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
