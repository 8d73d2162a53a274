"""Answers that are the same for every image, and the warning about networks that are no better."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scene_files import write_coco, write_masks

from mnv2search.data.dataset import Example
from mnv2search.data.loaded_scenes import VOID, LoadedScenes
from mnv2search.data.reading import read_dataset
from mnv2search.model.boxes import ious
from mnv2search.report.evaluation import trivial_text
from mnv2search.spec.size import Size
from mnv2search.tasks.box_clusters import clustered
from mnv2search.tasks.detection import Detection
from mnv2search.tasks.metrics import Metrics, metrics_of_record, metrics_of_tuple, record_of, share, tuple_of
from mnv2search.tasks.segmentation import Segmentation

CLASSES = ("red", "green")
BOXES = ((10.0, 5.0, 30.0, 25.0), (40.0, 20.0, 60.0, 40.0))


def scenes(*examples: Example) -> LoadedScenes:
    return LoadedScenes(examples, size=Size(48, 48), void=VOID)


def boxed(path: Path, boxes: tuple[tuple[float, float, float, float], ...] = BOXES) -> Example:
    return Example(path, labels=(0, 1), boxes=boxes, size=(64, 48))


def test_the_same_boxes_are_perfect_where_every_image_has_them(tmp_path: Path) -> None:
    same = scenes(*(boxed(tmp_path / f"{number}.png") for number in range(5)))
    assert Detection().trivial(same, same, CLASSES) == pytest.approx(1.0)


def test_they_are_those_of_the_training_images(tmp_path: Path) -> None:
    train = scenes(*(boxed(tmp_path / f"{number}.png") for number in range(5)))
    other = scenes(boxed(tmp_path / "other.png", boxes=((0.0, 40.0, 5.0, 48.0), (0.0, 0.0, 5.0, 5.0))))
    assert Detection().trivial(train, other, CLASSES) == 0.0


def test_images_without_boxes_have_no_constant_ones(tmp_path: Path) -> None:
    empty = scenes(Example(tmp_path / "0.png", size=(64, 48)))
    assert Detection().trivial(empty, scenes(boxed(tmp_path / "1.png")), CLASSES) == 0.0


def test_the_same_mask_is_perfect_where_every_image_has_it(tmp_path: Path) -> None:
    mask = np.zeros((48, 64), np.uint8)
    mask[:, 32:] = 1
    Image.fromarray(mask).save(tmp_path / "mask.png")
    same = scenes(Example(tmp_path / "0.png", mask=tmp_path / "mask.png", size=(64, 48)))
    assert Segmentation().trivial(same, same, CLASSES) == pytest.approx(1.0)


def test_the_same_mask_is_no_worse_than_the_commonest_class(tmp_path: Path) -> None:
    data = read_dataset(write_masks(tmp_path, train=8, val=4, test=4), "segmentation")
    train, val = scenes(*data.train), scenes(*data.val)
    truth = np.stack([val.truth(number) for number in range(4)])
    background = float((truth == 0).sum() / (truth != VOID).sum())
    assert Segmentation().trivial(train, val, data.classes) >= background / 3 - 1e-6


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_clusters_hold_every_box(count: int) -> None:
    corners = torch.rand(50, 2, generator=torch.Generator().manual_seed(count))
    boxes = torch.cat([corners, corners + 0.1 + 0.1 * corners.flip(1)], dim=1)
    centres, shares = clustered(boxes, count)
    assert 1 <= len(centres) <= count
    assert float(shares.sum()) == pytest.approx(1.0)
    assert bool((centres[:, 2:] > centres[:, :2]).all())


def test_more_clusters_overlap_the_boxes_more() -> None:
    corners = torch.rand(80, 2, generator=torch.Generator().manual_seed(0))
    boxes = torch.cat([corners, corners + 0.2], dim=1)
    overlaps = [float(ious(boxes, clustered(boxes, count)[0]).amax(1).mean()) for count in (1, 4, 16)]
    assert overlaps == sorted(overlaps)


@pytest.mark.parametrize("trivial", [None, 0.25])
@pytest.mark.parametrize("name", ["top1", "map"])
def test_files_keep_the_figure(name: str, trivial: float | None) -> None:
    metrics = Metrics(main=share(name, 0.5, 10), count=10, loss=None, trivial=trivial)
    assert metrics_of_record(record_of(metrics)) == metrics_of_tuple(tuple_of(metrics)) == metrics


def test_files_of_earlier_versions_have_none() -> None:
    old = {"metric": "map", "value": 0.25, "details": [["ap50", 0.5]], "count": 12, "low": 0.1, "high": 0.4}
    assert metrics_of_record(old).trivial is None
    assert metrics_of_tuple(("map", 0.25, (("ap50", 0.5),), 12)).score is None


@pytest.mark.parametrize(("trivial", "beats"), [(None, True), (0.2, True), (0.5, False), (0.9, False)])
def test_a_network_has_to_be_better_by_more_than_its_interval(trivial: float | None, beats: bool) -> None:
    metrics = Metrics(main=share("miou", 0.5, 100), count=100, trivial=trivial)
    assert metrics.beats_trivial == beats


def test_the_figure_is_named() -> None:
    metrics = Metrics(main=share("miou", 0.5, 100), count=100, trivial=0.17)
    assert trivial_text(metrics) == ", same mask for every image 17.0 %"
    assert trivial_text(replace(metrics, trivial=None)) == ""


def test_it_does_not_depend_on_where_the_images_are(tmp_path: Path) -> None:
    first = read_dataset(write_coco(tmp_path / "first"), "detection")
    shutil.copytree(tmp_path / "first", tmp_path / "second")
    second = read_dataset(tmp_path / "second", "detection")
    figures = [Detection().trivial(scenes(*d.train), scenes(*d.val), d.classes) for d in (first, second)]
    assert figures[0] == figures[1]
