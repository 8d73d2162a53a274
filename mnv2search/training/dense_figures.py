"""How well a detector or a segmenter does: mean average precision by COCO's own program, mean IoU by torchmetrics."""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mnv2search.errors import MissingExtraError
from mnv2search.model.build import MobileNet
from mnv2search.model.dense import enlarged
from mnv2search.model.ssdlite import SsdLiteHead
from mnv2search.training.dense_loss import VOID
from mnv2search.training.scene_batches import LoadedScenes, normalised

__all__ = ["DenseFigures", "dense_figures"]

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
    model: MobileNet, loaded: LoadedScenes, classes: tuple[str, ...], *, normalization: str, device: str = "cpu"
) -> DenseFigures:
    """The figures of a network on scenes; it is left in the mode that it was in.

    Args:
        model: a detector or a segmenter.
        loaded: the scenes; they are held against their annotations at their own size.
        classes: names.
        normalization: of the images.
        device: of torch that the model is on.

    Raises:
        MissingExtraError: what computes the figures is not installed.
    """
    was_training = model.training
    model.eval()
    judge = _detection if isinstance(model.head, SsdLiteHead) else _segmentation
    found = judge(model, loaded, classes, normalization, device)
    model.train(was_training)
    return found


def _answers(model: MobileNet, loaded: LoadedScenes, normalization: str, device: str) -> Any:
    """Predictions of each scene with its number."""
    for first in range(0, len(loaded), BATCH):
        numbers = range(first, min(first + BATCH, len(loaded)))
        images = normalised(loaded.batch(list(numbers)).images.to(device), normalization)
        yield from zip(numbers, model.predictions(images).float(), strict=True)


def _detection(
    model: MobileNet, loaded: LoadedScenes, classes: tuple[str, ...], normalization: str, device: str
) -> DenseFigures:
    try:
        from pycocotools.coco import COCO  # late: it is an extra
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise MissingExtraError(feature="mean average precision", package="pycocotools", extra="train") from error
    head = model.head
    assert isinstance(head, SsdLiteHead)
    found = [
        entry
        for number, one in _answers(model, loaded, normalization, device)
        for entry in _entries(head.detections(head.boxes_of(one[None]))[0].cpu(), number, loaded)
    ]
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


def _segmentation(
    model: MobileNet, loaded: LoadedScenes, classes: tuple[str, ...], normalization: str, device: str
) -> DenseFigures:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex
    except ImportError as error:
        raise MissingExtraError(feature="mean IoU", package="torchmetrics", extra="train") from error
    overlap = MulticlassJaccardIndex(len(classes), average="none", ignore_index=VOID)
    right = MulticlassAccuracy(len(classes), average="micro", ignore_index=VOID)
    there = torch.zeros(len(classes), dtype=torch.bool)
    for number, logits in _answers(model, loaded, normalization, device):
        truth = torch.from_numpy(loaded.truth(number)).long()
        answer = enlarged(logits[None], tuple(truth.shape)).argmax(1)[0].cpu()
        overlap.update(answer, truth)
        right.update(answer, truth)
        there[truth[truth != VOID]] = True
    by_class = overlap.compute()
    details = [("pixels", float(right.compute()))]
    details += [(name, float(by_class[k])) for k, name in enumerate(classes) if there[k]]
    return DenseFigures(metric="miou", value=float(by_class[there].mean()), details=tuple(details), count=len(loaded))
