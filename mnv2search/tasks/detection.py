"""Object detection: class and box losses over anchors, and mean average precision with pycocotools."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor
from torch.nn import functional

from mnv2search.data.dataset import Dataset
from mnv2search.data.loaded_scenes import LoadedScenes, SceneBatch, corners_of
from mnv2search.errors import extra_module
from mnv2search.model.boxes import as_corners, decoded, encoded, ious
from mnv2search.model.build import MobileNet
from mnv2search.model.ssdlite import SsdLiteHead
from mnv2search.model.weights.network_file import Learned
from mnv2search.spec.model_spec import SsdLite
from mnv2search.spec.space import SearchSpace
from mnv2search.tasks.anchor_fit import fit_anchors, middle_of, sets_anchors
from mnv2search.tasks.metrics import Metrics, share
from mnv2search.tasks.prediction import Found, Predicted, drawn, outputs_of
from mnv2search.tasks.scenes import Outputs, SceneTask
from mnv2search.tasks.task import Step
from mnv2search.tasks.trivial_answers import constant_boxes

# Source of all numbers: tensorflow/models, samples/configs/ssdlite_mobilenet_v2_coco.config.
MATCHED_IOU = 0.5
# Hard negatives per positive, fewest per image, and the IoU above which only the harder of two negatives is used.
NEGATIVES, LEAST_NEGATIVES, SAME_IOU = 3, 3, 0.99


class Targets(NamedTuple):
    """Targets of a detector for one image.

    Attributes:
        boxes: (A, 4) encoded boxes; zeros for background.
        classes: (A,) 0 for background, otherwise the class plus 1.
    """

    boxes: Tensor
    classes: Tensor


class Detection(SceneTask):
    """Object detection."""

    name = "detection"
    metric = "map"
    head = SsdLite
    packages = ("kornia", "pycocotools")
    has_scores = True

    def loss_of(self, predictions: Tensor, batch: SceneBatch, step: Step) -> Tensor:
        """See `detection_loss`."""
        anchors = _head(step.model).anchors
        targets = [
            targets_of(corners.to(step.device), labels.to(step.device), anchors)
            for corners, labels in zip(batch.corners, batch.labels, strict=True)
        ]
        return detection_loss(predictions, targets, anchors)

    def answers(self, outputs: Outputs, model: MobileNet, *, is_output: bool) -> Outputs:
        """Detections, after the decoding and non-maximum suppression that the outputs still lack."""
        head = _head(model)
        if not is_output or head.spec.output == "raw":
            outputs = ((number, head.boxes_of(one[None])[0]) for number, one in outputs)
        if not is_output or head.spec.output != "detections":
            outputs = ((number, head.detections(one[None])[0]) for number, one in outputs)
        return outputs

    def fitted_space(self, space: SearchSpace, data: Dataset) -> tuple[SearchSpace, str]:
        """A space with the classes of the data and, unless it sets them itself, anchors fitted to the boxes."""
        space, _ = super().fitted_space(space, data)
        if sets_anchors(space):
            return space, ""
        found = fit_anchors(middle_of(space), boxes_of(data))
        if found.spec.head == space.template.head:
            return space, ""
        template = replace(space.template, head=found.spec.head)
        return SearchSpace(template=template, axes=space.axes), f"anchors are fitted to the data: {found}"

    def constant_answers(self, train: LoadedScenes, classes: int) -> Iterator[Tensor]:
        """See `constant_boxes`."""
        return constant_boxes(train, classes)

    def metrics_of(self, answers: Outputs, loaded: LoadedScenes, classes: tuple[str, ...]) -> Metrics:
        """Mean average precision of detections (M, 6) over IoU 0.5 to 0.95.

        Raises:
            MissingExtraError: pycocotools is not installed.
        """
        return _average_precision(answers, loaded, classes)

    def predict(self, model: MobileNet, picture: Image, learned: Learned, *, least_score: float) -> Predicted:
        """The boxes with a score of at least `least_score`."""
        head = _head(model)
        rows = head.detections(head.boxes_of(outputs_of(model, picture, learned.normalization)))[0]
        rows = rows[rows[:, 4] >= max(least_score, 1e-9)]
        boxes = (rows[:, :4] * torch.tensor([picture.width, picture.height] * 2)).tolist()
        numbers = rows[:, 5].int().tolist()
        found = [
            Found(name=learned.classes[number], score=score, box=(x0, y0, x1, y1))
            for number, score, (x0, y0, x1, y1) in zip(numbers, rows[:, 4].tolist(), boxes, strict=True)
        ]
        return drawn(picture, found, numbers)

    def reach(self, model: MobileNet, examples: LoadedScenes, classes: int) -> tuple[float | None, ...]:
        """Share of each class's boxes that some anchor overlaps with an IoU of at least 0.5; None without boxes."""
        anchors = _head(model).anchors.cpu()
        found = torch.cat([reached(corners, anchors) for corners in examples.corners if len(corners)]).float()
        labels = torch.tensor([label for scene in examples.scenes for label in scene.labels])
        return tuple(float(found[labels == k].mean()) if (labels == k).any() else None for k in range(classes))


def boxes_of(data: Dataset) -> tuple[Tensor, ...]:
    """The training boxes of each class of a dataset, (M, 4), relative to the sides of their images."""
    corners = torch.cat([corners_of(example) for example in data.train])
    labels = torch.tensor([label for example in data.train for label in example.labels])
    return tuple(corners[labels == label] for label in range(len(data.classes)))


def detection_loss(predictions: Tensor, targets: Sequence[Targets], anchors: Tensor) -> Tensor:
    """Sigmoid cross-entropy of the classes of positives and hard negatives, plus smooth L1 of the boxes of positives.

    The sum is divided by the number of positives, but at least by 1, so that images without objects contribute too.
    Predictions (N, A, 4 + classes + 1) are those of `MobileNet.predictions`; anchors (A, 4) are centres and sides.

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


def matched(corners: Tensor, anchors: Tensor) -> Tensor:
    """(A,) index of the object matched with each anchor, or -1 for none.

    An anchor is matched with the object of highest IoU, if the IoU is at least 0.5. In addition, every object is
    matched with its anchor of highest IoU; if several objects have the same best anchor, the first object is matched.

    Corners (M, 4) are those of the objects; anchors (A, 4) are centres and sides.

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
    """(M,) whether some anchor overlaps each object with an IoU of at least 0.5."""
    return ious(corners, as_corners(anchors)).amax(dim=1) >= MATCHED_IOU


def targets_of(corners: Tensor, labels: Tensor, anchors: Tensor) -> Targets:
    """The targets of one image.

    Corners (M, 4) are relative to the image's sides, labels (M,) count from 0, anchors (A, 4) are centres and sides.
    """
    found = matched(corners, anchors)
    if not len(corners):
        return Targets(torch.zeros_like(anchors), torch.zeros_like(found))
    is_object, at = found >= 0, found.clamp(min=0)
    boxes = torch.where(is_object[:, None], encoded(corners[at], anchors), 0.0)
    return Targets(boxes, torch.where(is_object, labels[at] + 1, 0))


def hard_negatives(losses: Tensor, classes: Tensor, corners: Tensor) -> Tensor:
    """(A,) whether each anchor is one of the hard negatives of an image: the negatives with the largest loss.

    There are three per positive, and at least three. Of negatives with nearly equal predicted boxes, only the first
    is used. All positives contribute to the loss; TensorFlow leaves out nearly equal positives too.

    Losses (A,) are those of the classes, `classes` (A,) are 0 for background, and corners (A, 4) are predicted.

    Source: tensorflow/models, object_detection/core/losses.py, `HardExampleMiner`.
    """
    chosen = torch.zeros_like(classes, dtype=torch.bool)
    wanted = max(LEAST_NEGATIVES, NEGATIVES * int((classes > 0).sum()))
    negatives = int((classes == 0).sum())
    order = torch.where(classes == 0, losses, -torch.inf).argsort(descending=True)[:negatives]
    taken = 0
    while taken < wanted and len(order):
        # take as many as are missing; duplicates of boxes already taken are dropped, and the loop continues
        part, order = order[: wanted - taken], order[wanted - taken :]
        repeats = ious(corners[part], corners[part]).tril(-1) > SAME_IOU
        if taken:
            repeats = torch.cat([repeats, ious(corners[part], corners[chosen]) > SAME_IOU], dim=1)
        fresh = part[~repeats.any(dim=1)]
        chosen[fresh] = True
        taken += len(fresh)
    return chosen


def _head(model: MobileNet) -> SsdLiteHead:
    assert isinstance(model.head, SsdLiteHead)
    return model.head


def _average_precision(outputs: Outputs, loaded: LoadedScenes, classes: tuple[str, ...]) -> Metrics:
    """COCO metrics of detections (M, 6)."""
    extra_module("pycocotools", feature="mean average precision", package="pycocotools", extra="train")
    from pycocotools.coco import COCO  # late, as it is an extra
    from pycocotools.cocoeval import COCOeval

    found = [entry for number, rows in outputs for entry in _entries(rows.cpu(), number, loaded)]
    truth = COCO()
    truth.dataset = _truth(loaded, classes)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints tables
        truth.createIndex()
        if not found:
            return Metrics(main=share("map", 0.0, len(loaded)), count=len(loaded))
        judged = COCOeval(truth, truth.loadRes(found), "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    precision = judged.eval["precision"]  # (IoU, recall, class, area, detections)
    by_class = {
        name: float(known.mean()) if (known := one[one > -1]).size else float("nan")
        for name, one in zip(classes, (precision[:, :, k, 0, -1] for k in range(len(classes))), strict=True)
    }
    score, best_f1 = _best_f1(judged.evalImgs)
    details = {"ap50": float(judged.stats[1]), "ap75": float(judged.stats[2]), "f1": best_f1, **by_class}
    main = share("map", max(0.0, float(judged.stats[0])), len(loaded))
    known = tuple((name, value) for name, value in details.items() if not math.isnan(value))
    return Metrics(main=main, count=len(loaded), score=score, details=known)


def _best_f1(judged: Sequence[Mapping[str, Any] | None]) -> tuple[float | None, float]:
    """Score threshold with the best F1 over the boxes of all classes at an IoU of 0.5, and this F1.

    `judged` is `COCOeval.evalImgs`, with an entry for each class, range of areas and image. The threshold is None if
    no box is right.
    """
    known = [one for one in judged if one is not None and one["aRng"] == [0, 1e10]]
    if not known:
        return None, 0.0
    scores = np.concatenate([np.array(one["dtScores"], np.float64) for one in known])
    is_right = np.concatenate([one["dtMatches"][0] > 0 for one in known])
    order = np.argsort(-scores, kind="stable")
    objects = sum(len(one["gtIds"]) for one in known)
    f1 = 2 * is_right[order].cumsum() / (np.arange(1, len(order) + 1) + objects)
    is_last = np.append(np.diff(scores[order]) < 0, True)  # boxes of one score are kept or removed together
    best = int(np.argmax(np.where(is_last, f1, 0.0)))
    return (float(scores[order][best]), float(f1[best])) if f1[best] > 0 else (None, 0.0)


def _entries(rows: Tensor, number: int, loaded: LoadedScenes) -> list[dict[str, object]]:
    """Detections of one image in COCO's format, in px of the original image."""
    width, height = loaded.scenes[number].size
    scale = torch.tensor([width, height, width, height])
    entries = []
    for row in rows[rows[:, 4] > 0]:
        x0, y0, x1, y1 = (row[:4] * scale).tolist()
        box = [x0, y0, x1 - x0, y1 - y0]
        entries.append({"image_id": number, "category_id": int(row[5]), "bbox": box, "score": float(row[4])})
    return entries


def _truth(loaded: LoadedScenes, classes: tuple[str, ...]) -> dict[str, object]:
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
