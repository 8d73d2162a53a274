"""What a detector's or a segmenter's answers are held against."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from mnv2search.data.scene_batches import VOID
from mnv2search.model.boxes import decoded
from mnv2search.tasks.matching import Targets, hard_negatives

__all__ = ["detection_loss", "segmentation_loss"]


def detection_loss(predictions: Tensor, targets: Sequence[Targets], anchors: Tensor) -> Tensor:
    """Sigmoid cross-entropy of the classes of positives and hard negatives, and smooth L1 of the boxes of positives.

    Both count alike and are divided by the number of positives, or by one where there is none, so that images without
    objects are learned from too and no loss is a division by zero.

    Args:
        predictions: (N, A, 4 + classes + 1), as `MobileNet.predictions` gives them.
        targets: one for each image.
        anchors: (A, 4) about their centres.

    Source: tensorflow/models, samples/configs/ssdlite_mobilenet_v2_coco.config.
    """
    boxes, logits = predictions[..., :4], predictions[..., 4:]
    wanted = torch.stack([one.classes for one in targets])
    slots = functional.one_hot(wanted, logits.shape[-1]).to(logits.dtype)
    by_anchor = functional.binary_cross_entropy_with_logits(logits, slots, reduction="none").sum(-1)
    positive = wanted > 0
    with torch.no_grad():
        corners = decoded(boxes, anchors)
        learned = positive | torch.stack(
            [hard_negatives(*one) for one in zip(by_anchor.detach(), wanted, corners, strict=True)]
        )
    aims = torch.stack([one.boxes for one in targets])
    distance = functional.smooth_l1_loss(boxes, aims, reduction="none").sum(-1)
    total = (by_anchor * learned).sum() + (distance * positive).sum()
    return total / positive.sum().clamp(min=1)


def segmentation_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Mean cross-entropy over the pixels that are not void; 0 where all of them are.

    Args:
        logits: (N, classes, H, W) on the side of the network's map; they are enlarged to that of the masks.
        masks: (N, S, S) numbers of classes, `VOID` for pixels that count for nothing.

    Source: tensorflow/models, deeplab/utils/train_utils.py, `add_softmax_cross_entropy_loss_for_each_scale`.
    """
    enlarged = functional.interpolate(logits, masks.shape[-2:], mode="bilinear", align_corners=True)
    total = functional.cross_entropy(enlarged, masks, ignore_index=VOID, reduction="sum")
    return total / (masks != VOID).sum().clamp(min=1)
