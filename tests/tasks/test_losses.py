"""Matching, hard negatives and losses of detectors and segmenters."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mnv2search.data.loaded_scenes import VOID
from mnv2search.model.boxes import as_corners, encoded, ious
from mnv2search.spec.catalog import entry
from mnv2search.spec.heads.anchors import anchors as planned_anchors
from mnv2search.spec.plan import plan
from mnv2search.tasks.detection import Targets, detection_loss, hard_negatives, matched, reached, targets_of
from mnv2search.tasks.segmentation import segmentation_loss

ANCHORS = torch.tensor(
    [[0.25, 0.25, 0.5, 0.5], [0.75, 0.25, 0.5, 0.5], [0.25, 0.75, 0.5, 0.5], [0.75, 0.75, 0.5, 0.5]]
)
SSDLITE = torch.tensor(planned_anchors(plan(entry("ssdlite_mobilenet_v2").spec)))


def test_an_anchor_takes_what_it_overlaps_by_half() -> None:
    corners = torch.tensor([[0.0, 0.0, 0.5, 0.4], [0.5, 0.5, 1.0, 1.0]])
    assert matched(corners, ANCHORS).tolist() == [0, -1, -1, 1]


def test_a_small_object_gets_its_best_anchor_all_the_same() -> None:
    corners = torch.tensor([[0.6, 0.1, 0.7, 0.2]])
    assert matched(corners, ANCHORS).tolist() == [-1, 0, -1, -1]


def test_of_two_objects_that_want_one_anchor_the_first_gets_it() -> None:
    corners = torch.tensor([[0.6, 0.1, 0.7, 0.2], [0.8, 0.1, 0.9, 0.2]])
    assert matched(corners, ANCHORS).tolist() == [-1, 0, -1, -1]


def test_objects_that_only_a_forced_anchor_finds_are_not_reached() -> None:
    corners = torch.tensor([[0.0, 0.0, 0.5, 0.4], [0.6, 0.1, 0.7, 0.2]])
    assert reached(corners, ANCHORS).tolist() == [True, False]


def test_without_objects_everything_is_background() -> None:
    targets = targets_of(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), ANCHORS)
    assert targets.classes.tolist() == [0, 0, 0, 0]
    assert not targets.boxes.any()


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(*[st.floats(0.02, 0.98)] * 4), min_size=1, max_size=6))
def test_every_object_far_from_others_is_found_by_an_anchor(boxes: list[tuple[float, ...]]) -> None:
    centres = torch.tensor(boxes) * torch.tensor([1, 1, 0.5, 0.5]) + 0.01
    corners = as_corners(centres).clamp(0, 1)
    found = matched(corners, SSDLITE)
    overlaps = ious(corners, as_corners(SSDLITE))
    wanted = overlaps.argmax(1)
    assert (found[wanted] >= 0).all()
    far = (found >= 0) & (overlaps.max(0).values < 0.5)
    assert set(far.nonzero().flatten().tolist()) <= set(wanted.tolist())


def test_targets_are_classes_from_one_and_encoded_boxes() -> None:
    corners = torch.tensor([[0.0, 0.0, 0.5, 0.4]])
    targets = targets_of(corners, torch.tensor([2]), ANCHORS)
    assert targets.classes.tolist() == [3, 0, 0, 0]
    assert torch.allclose(targets.boxes[0], encoded(corners[0], ANCHORS[0]))
    assert not targets.boxes[1:].any()


def apart(count: int) -> Tensor:
    """Boxes that do not overlap."""
    left = torch.arange(count) / count
    return torch.stack([left, torch.zeros(count), left + 0.9 / count, torch.ones(count)], dim=1)


@pytest.mark.parametrize(("positives", "wanted"), [(0, 3), (1, 3), (2, 6), (4, 12)])
def test_three_negatives_for_a_positive_and_three_at_least(positives: int, wanted: int) -> None:
    classes = torch.tensor([1] * positives + [0] * (40 - positives))
    losses = torch.rand(40, generator=torch.Generator().manual_seed(0))
    chosen = hard_negatives(losses, classes, apart(40))
    assert int(chosen.sum()) == wanted
    assert not (chosen & (classes > 0)).any()
    left_out = losses[~chosen & (classes == 0)]
    assert float(losses[chosen].min()) >= float(left_out.max())


def test_negatives_that_are_all_but_the_same_count_once() -> None:
    corners = torch.cat([apart(2)[:1].expand(5, 4), apart(8)[2:]])
    losses = torch.tensor([9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.5, 0.4])
    chosen = hard_negatives(losses, torch.zeros(11, dtype=torch.long), corners)
    assert chosen.nonzero().flatten().tolist() == [0, 5, 6]


def test_few_negatives_are_all_taken() -> None:
    chosen = hard_negatives(torch.ones(4), torch.tensor([1, 1, 1, 0]), apart(4))
    assert chosen.tolist() == [False, False, False, True]


def test_the_detection_loss_is_what_it_is_said_to_be() -> None:
    targets = Targets(torch.zeros(4, 4), torch.tensor([1, 0, 0, 0]))
    predictions = torch.zeros(1, 4, 4 + 3)
    predictions[0, 0, 0], predictions[0, 0, 1] = 2.0, 0.5
    expected = 4 * 3 * math.log(2) + (2.0 - 0.5) + 0.5 * 0.5**2
    assert float(detection_loss(predictions, [targets], ANCHORS)) == pytest.approx(expected)


def test_a_perfect_detector_has_next_to_no_loss() -> None:
    targets = targets_of(torch.tensor([[0.0, 0.0, 0.5, 0.4]]), torch.tensor([1]), ANCHORS)
    logits = torch.where(torch.nn.functional.one_hot(targets.classes, 3) > 0, 20.0, -20.0)
    predictions = torch.cat([targets.boxes, logits], dim=1)[None]
    assert float(detection_loss(predictions, [targets], ANCHORS)) < 1e-6


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_images_without_objects_have_a_finite_loss_and_gradient(scale: float) -> None:
    nothing = targets_of(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), SSDLITE)
    drawn = torch.randn(2, len(SSDLITE), 8, generator=torch.Generator().manual_seed(0))
    predictions = (drawn * scale).requires_grad_()
    loss = detection_loss(predictions, [nothing, nothing], SSDLITE)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.isfinite()
    assert predictions.grad is not None
    assert predictions.grad.isfinite().all()


def test_void_pixels_count_for_nothing() -> None:
    logits = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    masks = torch.zeros(1, 4, 4, dtype=torch.long)
    masks[0, 2:] = VOID
    expected = torch.nn.functional.cross_entropy(logits[:, :, :2], masks[:, :2])
    assert torch.allclose(segmentation_loss(logits, masks), expected)


def test_a_mask_of_void_alone_has_no_loss() -> None:
    loss = segmentation_loss(torch.randn(1, 3, 4, 4), torch.full((1, 8, 8), VOID))
    assert float(loss) == 0.0
