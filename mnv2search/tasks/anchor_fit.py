"""Anchors fitted to boxes: the scales and aspect ratios of an SSDLite head."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from mnv2search.errors import SpecError
from mnv2search.model.boxes import as_corners, ious
from mnv2search.spec.heads.anchors import anchors
from mnv2search.spec.model_spec import ModelSpec, SsdLite
from mnv2search.spec.plan import plan
from mnv2search.spec.rules import changed
from mnv2search.spec.space import SearchSpace
from mnv2search.spec.yaml.codec import dumps
from mnv2search.tasks.box_clusters import clustered

# Fields of a head that determine its anchors.
FIELDS = ("smallest_scale", "largest_scale", "ratios", "interpolated", "reduced_first")
SMALLEST = (0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.12, 0.15, 0.18, 0.2, 0.25, 0.3, 0.4)
LARGEST = (0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
# Passes over the fields, and the gain for which the first map gets all boxes instead of three, which is slower.
PASSES, GAIN_OF_MORE_BOXES = 2, 0.005
# Maximum number of boxes that are compared with all anchors, about equally many of each class.
MOST_BOXES = 600


class FittedAnchors(NamedTuple):
    """A detector with fitted anchors.

    Attributes:
        before: mean over classes of the mean IoU of their boxes with the best anchors, with the given head.
        after: the same with the fitted head, never lower.
    """

    spec: ModelSpec
    before: float
    after: float

    @property
    def fragment(self) -> str:
        """The line of a spec with the fitted head."""
        return next(line for line in dumps(self.spec).splitlines() if line.startswith("head:"))

    def __str__(self) -> str:
        return (
            f"{self.fragment} (mean IoU of the training boxes with their best anchors, averaged over classes: "
            f"{self.before:.2f} before, {self.after:.2f} after)"
        )


def fit_anchors(spec: ModelSpec, boxes: Sequence[Tensor]) -> FittedAnchors:
    """The detector with the scales and ratios of the highest mean IoU of boxes with their best anchors.

    Boxes (M, 4) of each class are corners relative to the sides of the images. Ratios are k-means clusters of the
    boxes' shapes; scales are chosen from a grid, one field after another. The number of boxes of a position is that
    of the given head, except on the first map if `reduced_first` costs much overlap.

    Source: Redmon and Farhadi, arXiv 1612.08242, section 2 (dimension clusters).
    """
    assert isinstance(spec.head, SsdLite)
    real = [corners[(corners[:, 2:] > corners[:, :2]).all(1)] for corners in boxes]
    used = [corners[:: -(-len(corners) * len(real) // MOST_BOXES)] for corners in real if len(corners)]
    if not used:
        return FittedAnchors(spec, 0.0, 0.0)
    head, before = spec.head, mean_overlap(spec, used)
    best, after = _climbed(spec, used)
    if head.reduced_first:
        whole, more = _climbed(replace(spec, head=replace(head, reduced_first=False)), used)
        if more > after + GAIN_OF_MORE_BOXES:
            best, after = whole, more
    return FittedAnchors(replace(spec, head=best), before, after)


def _climbed(spec: ModelSpec, boxes: Sequence[Tensor]) -> tuple[SsdLite, float]:
    """The head with the best option of one field after another, and its overlap."""
    assert isinstance(spec.head, SsdLite)
    best, after = spec.head, mean_overlap(spec, boxes)
    fields: dict[str, tuple[object, ...]] = {
        "smallest_scale": SMALLEST,
        "largest_scale": LARGEST,
        "ratios": tuple(_ratios(spec, torch.cat(tuple(boxes)), len(best.ratios))),
    }
    for field, options in PASSES * tuple(fields.items()):
        for option in options:
            head = _changed(best, field, option)
            found = 0.0 if head is None else mean_overlap(replace(spec, head=head), boxes)
            if head is not None and found > after:
                best, after = head, found
    return best, after


def mean_overlap(spec: ModelSpec, boxes: Sequence[Tensor]) -> float:
    """Mean over classes of the mean IoU of their boxes (M, 4) with a detector's best anchors at their positions."""
    places = as_corners(torch.tensor(anchors(plan(spec))))
    return float(torch.stack([ious(corners, places).amax(1).mean() for corners in boxes]).mean())


def sets_anchors(space: SearchSpace) -> bool:
    """Whether a space of detectors sets its anchors itself: a value other than the default, or a choice."""
    head, plain = space.template.head, SsdLite()
    chosen = {axis.at for axis in space.axes}
    return any(getattr(head, name) != getattr(plain, name) or f"head.{name}" in chosen for name in FIELDS)


def middle_of(space: SearchSpace) -> ModelSpec:
    """The template of a space with the middle option of its resolution."""
    options = next((axis.options for axis in space.axes if axis.at == "resolution"), (space.template.resolution,))
    return changed(space.template, {"resolution": options[len(options) // 2]})


def _ratios(spec: ModelSpec, corners: Tensor, count: int) -> Iterator[tuple[float, ...]]:
    """Ratios of the clusters of shapes with equal area, in px of the network's input."""
    sides = (corners[:, 2:] - corners[:, :2]) * torch.tensor([spec.size.width, spec.size.height])
    shapes = (sides / sides.prod(1, keepdim=True).sqrt()).clamp(0.1, 10.0) / 2
    centres, shares = clustered(torch.cat([-shapes, shapes], dim=1), count)
    order = shares.argsort(descending=True, stable=True)
    found = tuple(round(float(x / y), 2) for x, y in centres[order, 2:].tolist())
    if len(set(found)) == count:
        yield found


def _changed(head: SsdLite, field: str, option: object) -> SsdLite | None:
    try:
        return replace(head, **{field: option})  # type: ignore[arg-type]
    except SpecError:  # such as a smallest scale above the largest
        return None
