"""The head of a detector: boxes and scores for every anchor, and non-maximum suppression."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mnv2search.model.boxes import decoded, suppressed
from mnv2search.model.dense import DenseHead
from mnv2search.spec.heads.anchors import anchors
from mnv2search.spec.model_spec import SsdLite
from mnv2search.spec.plan import Plan


class SsdLiteHead(DenseHead):
    """Extra layers and predictors; anchors are buffers that are not part of the state dict."""

    anchors: Tensor
    # Source: ssdlite_mobilenet_v2_coco.config, `conv_hyperparams`.
    predictor_deviation = 0.03

    def __init__(self, laid_out: Plan, head: SsdLite) -> None:
        super().__init__(laid_out)
        self.spec = head
        self._places = anchors(laid_out)
        self.maps = sum(unit.kind == "boxes" for unit in laid_out.dense)
        self.register_buffer("anchors", torch.empty(len(self._places), 4), persistent=False)

    def reset(self) -> None:
        """Set the anchors."""
        self.anchors = torch.tensor(self._places)

    def predictions(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """(N, A, 4 + classes + 1): for every anchor the encoded box, then the logits with the background first."""
        outputs = self.spec.classes + 1
        boxes = torch.cat([_rows(tensors[f"head/boxes_{i + 1}"], 4) for i in range(self.maps)], dim=1)
        scores = torch.cat([_rows(tensors[f"head/scores_{i + 1}"], outputs) for i in range(self.maps)], dim=1)
        return torch.cat([boxes, scores], dim=2)

    def finished(self, predictions: Tensor, size: tuple[int, int]) -> Tensor:  # noqa: ARG002
        """The output in the form `output`: predictions, boxes or detections.

        Boxes are (N, A, 4 + classes): corners over the image's sides, then scores. Detections are
        (N, detections, 6): corners, score and class from 0, best first, padded with rows of score 0.
        """
        if self.spec.output == "raw":
            return predictions
        boxes = self.boxes_of(predictions)
        return boxes if self.spec.output == "boxes" else self.detections(boxes)

    def boxes_of(self, predictions: Tensor) -> Tensor:
        """(N, A, 4 + classes): corners over the image's sides, then scores."""
        corners, scores = decoded(predictions[..., :4], self.anchors), predictions[..., 5:].sigmoid()
        return torch.cat([corners, scores], dim=2)

    def detections(self, boxes: Tensor) -> Tensor:
        """(N, detections, 6): boxes (N, A, 4 + classes) after non-maximum suppression, best first."""
        return torch.stack([self._detections(one[:, :4], one[:, 4:]) for one in boxes])

    def _detections(self, corners: Tensor, scores: Tensor) -> Tensor:
        """(detections, 6) of one image, from its boxes (A, 4) and scores (A, classes)."""
        head = self.spec
        kept = suppressed(scores.T, corners, score=head.score_threshold, iou=head.iou_threshold, most=head.detections)
        # Equal scores keep their order, as in the runtimes; topk does not guarantee this.
        best, at = (t[: head.detections] for t in kept.flatten().sort(descending=True, stable=True))
        rows = torch.cat([corners[at % len(corners)], best[:, None], (at // len(corners))[:, None]], dim=1)
        rows = torch.where(best[:, None] > 0, rows, 0.0)
        return nn.functional.pad(rows, (0, 0, 0, head.detections - len(rows)))


def _rows(x: Tensor, length: int) -> Tensor:
    """(N, H * W * k, length) of a map (N, k * length, H, W)."""
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, length)
