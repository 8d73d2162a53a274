"""Semantic segmentation: pixel-wise cross-entropy, and mean IoU with torchmetrics."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor
from torch.nn import functional

from mnv2search.data.loaded_scenes import VOID, LoadedScenes, SceneBatch
from mnv2search.errors import extra_module
from mnv2search.model.build import MobileNet
from mnv2search.model.dense import classes_at
from mnv2search.model.weights.network_file import Learned
from mnv2search.spec.model_spec import DeepLab
from mnv2search.tasks.metrics import Metrics, share
from mnv2search.tasks.prediction import Found, Predicted, drawn, outputs_of
from mnv2search.tasks.scenes import Outputs, SceneTask
from mnv2search.tasks.task import Step
from mnv2search.tasks.trivial_answers import constant_masks


class Segmentation(SceneTask):
    """Semantic segmentation."""

    name = "segmentation"
    metric = "miou"
    head = DeepLab
    packages = ("kornia", "torchmetrics")

    def constant_answers(self, train: LoadedScenes, classes: int) -> Iterator[Tensor]:
        """See `constant_masks`."""
        return constant_masks(train, classes)

    def metrics_of(self, answers: Outputs, loaded: LoadedScenes, classes: tuple[str, ...]) -> Metrics:
        """Mean IoU of logits (C, H, W) or classes (H, W), enlarged to the size of the masks.

        Raises:
            MissingExtraError: torchmetrics is not installed.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            name = "torchmetrics.classification"
            metrics = extra_module(name, feature="mean IoU", package="torchmetrics", extra="train")
        overlap = metrics.MulticlassJaccardIndex(len(classes), average="none", ignore_index=VOID)
        right = metrics.MulticlassAccuracy(len(classes), average="micro", ignore_index=VOID)
        there = torch.zeros(len(classes), dtype=torch.bool)
        for number, one in answers:
            truth = torch.from_numpy(loaded.truth(number)).long()
            answer = _classes(one, (truth.shape[0], truth.shape[1]))
            overlap.update(answer, truth)
            right.update(answer, truth)
            there[truth[truth != VOID]] = True
        by_class = overlap.compute()
        details = [("pixels", float(right.compute()))]
        details += [(name, float(by_class[k])) for k, name in enumerate(classes) if there[k]]
        main = share("miou", float(by_class[there].mean()), len(loaded))
        return Metrics(main=main, count=len(loaded), details=tuple(details))

    def loss_of(self, predictions: Tensor, batch: SceneBatch, step: Step) -> Tensor:
        """See `segmentation_loss`."""
        assert batch.masks is not None
        return segmentation_loss(predictions, batch.masks.to(step.device))

    def predict(self, model: MobileNet, picture: Image, learned: Learned, *, least_score: float) -> Predicted:  # noqa: ARG002
        """The class of every pixel; classes are sorted by area, largest first."""
        outputs = outputs_of(model, picture, learned.normalization)
        mask = classes_at(outputs[0], (picture.height, picture.width)).numpy()
        shares = np.bincount(mask.ravel()) / mask.size
        numbers = [int(number) for number in np.argsort(-shares) if shares[number] > 0]
        found = [Found(name=learned.classes[number], score=float(shares[number])) for number in numbers]
        return drawn(picture, found, numbers, mask)


def segmentation_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Mean cross-entropy over the pixels that are not void; 0 if all pixels are void.

    Logits (N, classes, H, W) at the network's output stride are enlarged to the size of the masks (N, S, S).

    Source: tensorflow/models, deeplab/utils/train_utils.py, `add_softmax_cross_entropy_loss_for_each_scale`.
    """
    enlarged = functional.interpolate(logits, masks.shape[-2:], mode="bilinear", align_corners=True)
    total = functional.cross_entropy(enlarged, masks, ignore_index=VOID, reduction="sum")
    return total / (masks != VOID).sum().clamp(min=1)


def _classes(output: Tensor, size: tuple[int, int]) -> Tensor:
    if output.ndim == 2:
        return functional.interpolate(output[None, None], size=list(size), mode="nearest-exact")[0, 0].long()
    return classes_at(output, size).cpu()
