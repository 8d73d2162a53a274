"""Box arithmetic: encoding and decoding, intersection over union, and non-maximum suppression."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mnv2search.spec.heads.anchors import CODER_SCALES, MOST_GROWTH

# Minimum side, as a share of the image, for taking its logarithm.
SMALLEST_SIDE = 1e-6


def as_corners(boxes: Tensor) -> Tensor:
    """(..., 4) corners (x0, y0, x1, y1) of boxes given as (x of centre, y of centre, width, height)."""
    half = boxes[..., 2:] / 2
    return torch.cat([boxes[..., :2] - half, boxes[..., :2] + half], dim=-1)


def as_centres(boxes: Tensor) -> Tensor:
    """(..., 4) boxes (x of centre, y of centre, width, height) from corners."""
    return torch.cat([(boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]], dim=-1)


def encoded(corners: Tensor, anchors: Tensor) -> Tensor:
    """The target prediction of a detector for boxes.

    Corners are (..., 4), and anchors are (..., 4) as centre and size.

    Source: tensorflow/models, object_detection/box_coders/faster_rcnn_box_coder.py.
    """
    boxes = as_centres(corners)
    offsets = (boxes[..., :2] - anchors[..., :2]) / anchors[..., 2:]
    growths = torch.log(boxes[..., 2:].clamp(min=SMALLEST_SIDE) / anchors[..., 2:])
    return torch.cat([offsets, growths], dim=-1) * _scales(anchors)


def decoded(predicted: Tensor, anchors: Tensor) -> Tensor:
    """(..., 4) corners of the predicted boxes, clipped to the image.

    >>> anchor = torch.tensor([[0.5, 0.5, 0.2, 0.4]])
    >>> decoded(torch.zeros(1, 4), anchor)
    tensor([[0.4000, 0.3000, 0.6000, 0.7000]])
    """
    unscaled = predicted / _scales(anchors)
    growths = unscaled[..., 2:].clamp(max=math.log(MOST_GROWTH))
    centres = unscaled[..., :2] * anchors[..., 2:] + anchors[..., :2]
    return as_corners(torch.cat([centres, torch.exp(growths) * anchors[..., 2:]], dim=-1)).clamp(0.0, 1.0)


def _scales(like: Tensor) -> Tensor:
    """The coder's scales (4,), created by fills, because a CUDA graph cannot copy them from the host."""
    return torch.stack([like.new_full((), scale) for scale in CODER_SCALES])


def ious(ones: Tensor, others: Tensor) -> Tensor:
    """(..., N, M) intersection over union of boxes (..., N, 4) and (..., M, 4) by corners; 0 if both are empty.

    >>> ious(torch.tensor([[0.0, 0.0, 2.0, 1.0]]), torch.tensor([[1.0, 0.0, 3.0, 1.0]]))
    tensor([[0.3333]])
    """
    low = torch.maximum(ones[..., :, None, :2], others[..., None, :, :2])
    high = torch.minimum(ones[..., :, None, 2:], others[..., None, :, 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).prod(-1) for boxes in (ones, others)]
    union = areas[0][..., :, None] + areas[1][..., None, :] - shared
    return torch.where(union > 0, shared / union.clamp(min=torch.finfo(union.dtype).tiny), 0.0)


def suppressed(scores: Tensor, corners: Tensor, *, score: float, iou: float, most: int) -> Tensor:
    """Scores (C, N) of the boxes (N, 4) of one image, with 0 for boxes removed by non-maximum suppression.

    Boxes with a score of at most `score` are removed. For each class, the best remaining box is kept and boxes that
    overlap it by more than `iou` are removed, until `most` are kept or none remains. All classes step simultaneously.
    """
    overlaps = ious(corners, corners) > iou
    left = torch.where(scores > score, scores, 0.0)
    kept = torch.zeros_like(scores)
    classes = torch.arange(len(scores), device=scores.device)
    for _ in range(min(most, scores.shape[1])):
        best, at = left.max(dim=1)
        # A CUDA graph cannot end early: it runs all steps, and steps after the last box change nothing.
        if not (scores.is_cuda and torch.cuda.is_current_stream_capturing()) and not bool((best > 0).any()):
            break
        kept[classes, at] = torch.where(best > 0, best, kept[classes, at])
        left = left.masked_fill(overlaps[at].scatter(1, at[:, None], 1), 0.0)
    return kept
