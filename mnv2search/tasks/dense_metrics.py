"""How well a detector or a segmenter does: mean average precision by COCO's own program, mean IoU by torchmetrics."""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from mnv2search.data.scene_batches import VOID, LoadedScenes, normalised
from mnv2search.errors import MissingExtraError, StoppedError
from mnv2search.model.build import MobileNet
from mnv2search.model.dense import classes_at
from mnv2search.model.ssdlite import SsdLiteHead

__all__ = ["DenseFigures", "answer_figures", "dense_figures"]

BATCH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseFigures:
    """How well a network does on some images.

    Attributes:
        metric: ``map``, mean average precision over IoU 0.5 to 0.95, or ``miou``, mean intersection over union.
        value: of it, 0 to 1.
        details: further figures by name: ``ap50``, ``ap75``, ``pixels`` right, and one a class.
        count: images.
    """

    metric: str
    value: float
    details: tuple[tuple[str, float], ...]
    count: int


@torch.no_grad()
def dense_figures(
    model: MobileNet,
    loaded: LoadedScenes,
    classes: tuple[str, ...],
    *,
    normalization: str,
    device: str = "cpu",
    stop: Callable[[], bool] = lambda: False,
) -> DenseFigures:
    """The figures of a network on scenes; it is left in the mode that it was in.

    Args:
        model: a detector or a segmenter.
        loaded: the scenes; they are held against their annotations at their own size.
        classes: names.
        normalization: of the images.
        device: of torch that the model is on.
        stop: asked before every batch whether to stop.

    Raises:
        StoppedError: it was asked to stop.
        MissingExtraError: what computes the figures is not installed.
    """
    was_training = model.training
    model.eval()
    head, answers = model.head, _answers(model.predictions, loaded, normalization, device, stop)
    if isinstance(head, SsdLiteHead):
        rows = ((number, head.detections(head.boxes_of(one[None]))[0]) for number, one in answers)
        found = _detection(rows, loaded, classes)
    else:
        found = _segmentation(answers, loaded, classes)
    model.train(was_training)
    return found


@torch.no_grad()
def answer_figures(
    run: Callable[[Tensor], Tensor],
    model: MobileNet,
    loaded: LoadedScenes,
    classes: tuple[str, ...],
    *,
    normalization: str,
) -> DenseFigures:
    """The figures of what gives the answers of a network, such as a written file.

    What its output leaves to the reader is done as the network does it. Numbers of classes are enlarged to the size
    of the masks without interpolation.

    Args:
        run: answers of images (N, 3, S, S), as `head.output` of the network says.
        model: the network.
        loaded: the scenes.
        classes: names.
        normalization: of the images.

    Raises:
        MissingExtraError: what computes the figures is not installed.
    """
    head, answers = model.head, _answers(run, loaded, normalization, "cpu")
    if not isinstance(head, SsdLiteHead):
        return _segmentation(answers, loaded, classes)
    output = head.spec.output
    if output == "raw":
        answers = ((number, head.boxes_of(one[None])[0]) for number, one in answers)
    if output != "detections":
        answers = ((number, head.detections(one[None])[0]) for number, one in answers)
    return _detection(answers, loaded, classes)


Answers: TypeAlias = Iterator[tuple[int, Tensor]]
"""Number of each scene with what was said of it."""


def _answers(
    run: Callable[[Tensor], Tensor],
    loaded: LoadedScenes,
    normalization: str,
    device: str,
    stop: Callable[[], bool] = lambda: False,
) -> Answers:
    for first in range(0, len(loaded), BATCH):
        if stop():
            raise StoppedError("the evaluation was stopped")
        numbers = range(first, min(first + BATCH, len(loaded)))
        images = normalised(loaded.batch(list(numbers)).images.to(device), normalization)
        yield from zip(numbers, run(images).float(), strict=True)


def _detection(answers: Answers, loaded: LoadedScenes, classes: tuple[str, ...]) -> DenseFigures:
    """Of rows of detections (M, 6)."""
    try:
        from pycocotools.coco import COCO  # late: it is an extra
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise MissingExtraError(feature="mean average precision", package="pycocotools", extra="train") from error
    found = [entry for number, rows in answers for entry in _entries(rows.cpu(), number, loaded)]
    truth = COCO()
    truth.dataset = _truth(loaded, classes)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints tables
        truth.createIndex()
        if not found:
            return DenseFigures(metric="map", value=0.0, details=(), count=len(loaded))
        judged = COCOeval(truth, truth.loadRes(found), "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    precision = judged.eval["precision"]  # (IoU, recall, class, area, detections)
    by_class = {
        name: float(known.mean()) if (known := one[one > -1]).size else float("nan")
        for name, one in zip(classes, (precision[:, :, k, 0, -1] for k in range(len(classes))), strict=True)
    }
    details = {"ap50": float(judged.stats[1]), "ap75": float(judged.stats[2]), **by_class}
    kept = tuple((name, value) for name, value in details.items() if not math.isnan(value))
    return DenseFigures(metric="map", value=max(0.0, float(judged.stats[0])), details=kept, count=len(loaded))


def _entries(rows: Tensor, number: int, loaded: LoadedScenes) -> list[dict[str, Any]]:
    """Detections of one image as COCO writes them, in px of the image itself."""
    width, height = loaded.scenes[number].size
    scale = torch.tensor([width, height, width, height])
    entries = []
    for row in rows[rows[:, 4] > 0]:
        x0, y0, x1, y1 = (row[:4] * scale).tolist()
        entries.append(
            {
                "image_id": number,
                "category_id": int(row[5]),
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "score": float(row[4]),
            }
        )
    return entries


def _truth(loaded: LoadedScenes, classes: tuple[str, ...]) -> dict[str, Any]:
    annotations = [
        {
            "image_id": number,
            "category_id": label,
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "area": (x1 - x0) * (y1 - y0),
            "iscrowd": 0,
        }
        for number, scene in enumerate(loaded.scenes)
        for (x0, y0, x1, y1), label in zip(scene.boxes, scene.labels, strict=True)
    ]
    return {
        "info": {},
        "images": [{"id": number} for number in range(len(loaded))],
        "annotations": [{**one, "id": number + 1} for number, one in enumerate(annotations)],
        "categories": [{"id": label, "name": name} for label, name in enumerate(classes)],
    }


def _segmentation(answers: Answers, loaded: LoadedScenes, classes: tuple[str, ...]) -> DenseFigures:
    """Of logits (C, H, W) or of numbers of classes (H, W)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex
    except ImportError as error:
        raise MissingExtraError(feature="mean IoU", package="torchmetrics", extra="train") from error
    overlap = MulticlassJaccardIndex(len(classes), average="none", ignore_index=VOID)
    right = MulticlassAccuracy(len(classes), average="micro", ignore_index=VOID)
    there = torch.zeros(len(classes), dtype=torch.bool)
    for number, one in answers:
        truth = torch.from_numpy(loaded.truth(number)).long()
        if one.ndim == 2:
            answer = functional.interpolate(one[None, None], size=list(truth.shape), mode="nearest-exact")[
                0, 0
            ].long()
        else:
            answer = classes_at(one, (truth.shape[0], truth.shape[1])).cpu()
        overlap.update(answer, truth)
        right.update(answer, truth)
        there[truth[truth != VOID]] = True
    by_class = overlap.compute()
    details = [("pixels", float(right.compute()))]
    details += [(name, float(by_class[k])) for k, name in enumerate(classes) if there[k]]
    return DenseFigures(metric="miou", value=float(by_class[there].mean()), details=tuple(details), count=len(loaded))
