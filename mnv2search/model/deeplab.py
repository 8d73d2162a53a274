"""The head of a segmenter: logits for every pixel."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from mnv2search.model.dense import DenseHead, enlarged
from mnv2search.spec.model_spec import DeepLab
from mnv2search.spec.plan import Plan


class DeepLabHead(DenseHead):
    """Branches, the projection of their concatenation, dropout, an optional decoder, and the logits."""

    # Source: tensorflow/models, deeplab/model.py, `get_branch_logits`.
    predictor_deviation = 0.01

    def __init__(self, laid_out: Plan, head: DeepLab) -> None:
        super().__init__(laid_out, dropout=head.dropout)
        self.spec = head

    def predictions(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """(N, classes, H, W) logits, at the size of the map that they were computed on."""
        return tensors["head/logits"]

    def finished(self, predictions: Tensor, size: tuple[int, int]) -> Tensor:
        """The output in the form `output`: logits, logits at the image's size, or (N, H, W) class indices."""
        if self.spec.output == "logits":
            return predictions
        resized = enlarged(predictions, size)
        return resized if self.spec.output == "resized" else resized.argmax(1)
