"""Anchors fitted to boxes: never worse than the given ones, and only where a space leaves them open."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from scene_files import write_coco, write_masks

sys.path.append(str(Path(__file__).parents[1] / "model"))

from dense_specs import detector

from mnv2search.data.dataset import Example
from mnv2search.data.reading import read_dataset
from mnv2search.spec.model_spec import ModelSpec, SsdLite
from mnv2search.spec.space import Axis, SearchSpace
from mnv2search.spec.yaml.codec import loads
from mnv2search.tasks.anchor_fit import fit_anchors, mean_overlap, middle_of, sets_anchors
from mnv2search.tasks.detection import Detection, boxes_of

SPEC = detector(classes=2)


def boxes(seed: int, side: float, ratio: float) -> torch.Tensor:
    """Forty boxes (40, 4) of about one size and shape."""
    generator = torch.Generator().manual_seed(seed)
    sides = side * (0.8 + 0.4 * torch.rand(40, 2, generator=generator)) * torch.tensor([ratio**0.5, ratio**-0.5])
    corners = torch.rand(40, 2, generator=generator) * (1 - sides).clamp(min=0)
    return torch.cat([corners, (corners + sides).clamp(max=1)], dim=1)


@pytest.mark.parametrize("ratio", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("side", [0.05, 0.2, 0.6])
def test_fitted_anchors_overlap_the_boxes_no_less(side: float, ratio: float) -> None:
    several = boxes(0, side, ratio), boxes(1, 0.3, 1.0)
    found = fit_anchors(SPEC, several)
    assert found.before == pytest.approx(mean_overlap(SPEC, several))
    assert found.after == pytest.approx(mean_overlap(found.spec, several))
    assert found.after >= found.before


def test_they_overlap_uncommon_boxes_more() -> None:
    found = fit_anchors(SPEC, [boxes(0, 0.3, 4.0)])
    assert found.after > found.before + 0.05


def test_every_class_counts_as_much_as_the_others() -> None:
    large, small = boxes(0, 0.8, 1.0), boxes(1, 0.1, 1.0)
    one, many = (mean_overlap(SPEC, [large, part]) for part in (small, small.repeat(20, 1)))
    assert one == pytest.approx(many, abs=1e-6)


@pytest.mark.parametrize("empty", [torch.zeros(0, 4), torch.tensor([[0.5, 0.5, 0.5, 0.5]])], ids=["none", "points"])
def test_without_boxes_anchors_stay(empty: torch.Tensor) -> None:
    assert fit_anchors(SPEC, [empty]).spec == SPEC


def test_the_fragment_is_a_head() -> None:
    found = fit_anchors(SPEC, [boxes(0, 0.3, 4.0)])
    text = (
        f"mnv2search: 1\nname: it\ncolumns: [t, c, n, s]\nblocks: [[1, 16, 1, 2], [6, 24, 1, 2]]\n{found.fragment}\n"
    )
    read = loads(text)
    assert isinstance(read, ModelSpec)
    assert read.head == found.spec.head


def space(axes: tuple[Axis, ...] = (), **head: Any) -> SearchSpace:
    assert isinstance(SPEC.head, SsdLite)
    plain = SsdLite(classes=2, extras=SPEC.head.extras, taps=SPEC.head.taps)
    return SearchSpace(template=replace(SPEC, head=replace(plain, **head)), axes=axes)


@pytest.mark.parametrize(
    ("given", "sets"),
    [
        pytest.param(space(), False, id="default"),
        pytest.param(space(smallest_scale=0.1), True, id="scale"),
        pytest.param(space(ratios=(1.0, 1.5)), True, id="ratios"),
        pytest.param(space(reduced_first=False), True, id="first map"),
        pytest.param(space((Axis(at="head.smallest_scale", options=(0.2, 0.1)),)), True, id="choice"),
        pytest.param(space((Axis(at="resolution", options=(48, 64)),)), False, id="other choice"),
    ],
)
def test_a_space_may_set_anchors_itself(given: SearchSpace, sets: bool, tmp_path: Path) -> None:
    data = read_dataset(write_coco(tmp_path, train=12, val=3, test=3), "detection")
    found, message = Detection().fitted_space(given, data)
    assert sets_anchors(given) == sets
    assert (found.template == given.template) == sets
    assert message.startswith("anchors are fitted to the data: head: {kind: ssdlite") == (not sets)
    assert found.axes == given.axes
    assert Detection().fitted_space(found, data) == (found, "")


def test_the_middle_of_the_resolutions_is_taken() -> None:
    assert middle_of(space((Axis(at="resolution", options=(48, 64, 96)),))).resolution == 64
    assert middle_of(space()) == space().template


def test_boxes_are_sorted_by_class(tmp_path: Path) -> None:
    data = read_dataset(write_coco(tmp_path, train=12, val=3, test=3), "detection")
    by_class = boxes_of(data)
    labels = [label for example in data.train for label in example.labels]
    assert [len(part) for part in by_class] == [labels.count(0), labels.count(1)]
    without = replace(data, train=(Example(data.train[0].path, size=(64, 48)),))
    assert [part.shape for part in boxes_of(without)] == [(0, 4), (0, 4)]


def test_the_command_prints_a_head(run: Callable[..., Any], tmp_path: Path) -> None:
    write_coco(tmp_path / "boxes", train=12, val=3, test=3)
    shown = run("data", str(tmp_path / "boxes"), "--anchors")
    assert "anchors of ssdlite_mobilenet_v2 at 320 px: mean IoU" in shown.out
    told = json.loads(run("data", str(tmp_path / "boxes"), "--anchors", "--json").out)["anchors"]
    assert told["head"].startswith("head: {kind: ssdlite, classes: 2")
    assert told["after"] >= told["before"] > 0
    assert json.loads(run("data", str(tmp_path / "boxes"), "--json").out)["anchors"] is None


def test_masks_have_no_anchors(run: Callable[..., Any], tmp_path: Path) -> None:
    done = run("data", str(write_masks(tmp_path / "masks")), "--anchors")
    assert done.code == 2
    assert "--anchors is for boxes" in done.err
