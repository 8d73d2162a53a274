"""The description of datasets: counts, sizes, shares and faults."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import draw_pictures
from PIL import Image
from scene_files import HEIGHT, WIDTH, write_coco, write_masks, write_voc

from mnv2search.data.dataset import SPLITS
from mnv2search.data.reading import task_of_layout
from mnv2search.report.data import data_lines, files_rows
from mnv2search.workflows.training.describe_data import describe_data

Run = Callable[..., Any]


def broken(root: Path) -> Path:
    """A set of boxes with a fault of each kind in train."""
    write_coco(root, train=12, val=3, test=3)
    file = root / "train" / "annotations.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    boxes = ([-5, 0, 20, 20], [70, 0, 9, 9], [3, 3, 0, 9], [4, 4, 0, 9], [1, 1, 9, 9])
    for number, box in enumerate(boxes):
        category = 7 if number < 4 else 55
        content["annotations"].append(
            {"id": 100 + number, "image_id": 0, "category_id": category, "bbox": box, "iscrowd": 0}
        )
    content["images"].append({"id": 50, "file_name": "empty.png", "width": WIDTH, "height": HEIGHT})
    Image.new("RGB", (WIDTH, HEIGHT)).save(root / "train" / "images" / "empty.png")
    file.write_text(json.dumps(content), encoding="utf-8")
    return root


@pytest.mark.parametrize(
    ("write", "task"),
    [
        (write_coco, "detection"),
        (write_voc, "detection"),
        (write_masks, "segmentation"),
        (draw_pictures, None),
    ],
    ids=["coco", "voc", "masks", "classes"],
)
def test_the_layout_tells_the_task(write: Callable[[Path], Path], task: str | None, tmp_path: Path) -> None:
    assert task_of_layout(write(tmp_path / "set")) == task


def test_an_unreadable_image_is_neither_counted_nor_in_a_part(tmp_path: Path) -> None:
    torn = draw_pictures(tmp_path / "photos", count=8) / "red" / "003.png"
    whole = describe_data(tmp_path / "photos")
    torn.write_bytes(torn.read_bytes()[:40])
    found = describe_data(tmp_path / "photos")
    assert sum(map(sum, found.amounts.values())) == sum(map(sum, whole.amounts.values())) - 1
    parts = {row[0]: row[1] for row in files_rows(found.dataset, found.unreadable).rows}
    assert [path for path, part in parts.items() if part == "unreadable"] == [str(torn)]


def test_a_set_without_a_readable_image_is_described(tmp_path: Path) -> None:
    for file in draw_pictures(tmp_path / "photos", count=8).rglob("*.png"):
        file.write_bytes(b"torn")
    found = describe_data(tmp_path / "photos")
    assert not found.is_readable_enough
    assert "too many for training" in " ".join(data_lines(found))


def test_boxes_are_counted_by_class_and_part(tmp_path: Path) -> None:
    found = describe_data(write_coco(tmp_path), "detection")
    assert [sum(found.amounts[split]) for split in ("train", "val", "test")] == [6, 3, 3]
    assert found.images == found.amounts  # one box an image
    assert found.most_boxes == 1
    for sides in found.sides:
        assert sides is not None
        # squares of 14 to 23 px in images of 64 x 48 px
        assert 14 / (64 * 48) ** 0.5 <= sides.low <= sides.median <= sides.high <= 23 / (64 * 48) ** 0.5


def test_faults_of_a_kind_are_told_of_together(tmp_path: Path) -> None:
    lines = list(data_lines(describe_data(broken(tmp_path), "detection")))
    assert "4 annotations skipped, 1 annotation clipped, by kind with an example:" in lines
    for text in (
        "2 x ",
        "has no area; skipped",
        "lies outside the image of 64 x 48 px; skipped",
        "reaches beyond the image of 64 x 48 px; clipped",
        "the class id 55 is not one of 7, 9; skipped",
    ):
        assert any(text in line for line in lines), text
    assert "1 image without a box: learned from as background" in lines


def test_missing_images_are_told_of_apart_from_annotations(tmp_path: Path) -> None:
    root = broken(tmp_path)
    (root / "train" / "images" / "000.png").unlink()
    lines = list(data_lines(describe_data(root, "detection")))
    at = lines.index("1 image skipped, by kind with an example:")
    assert lines[at + 1].endswith("image id 0 (000.png): there is no such file; skipped")


def test_an_entry_without_an_id_is_named_by_its_place(tmp_path: Path) -> None:
    root = write_coco(tmp_path)
    file = root / "train" / "annotations.json"
    content = json.loads(file.read_text())
    del content["annotations"][2]["id"]
    content["annotations"][2]["bbox"] = [3, 3, 0, 0]
    file.write_text(json.dumps(content))
    (fault,) = describe_data(root, "detection").dataset.faults
    assert fault.entry == "annotation number 3 of the list"


def test_a_set_without_test_says_that_its_val_is_tested_on(run: Run, tmp_path: Path) -> None:
    write_coco(tmp_path / "boxes", train=8, val=3)
    draw_pictures(tmp_path / "photos" / "train")
    draw_pictures(tmp_path / "photos" / "val", count=4, seed=5)
    for name in ("boxes", "photos"):
        shown = " ".join(run("data", name).out.split())
        assert "test (from your val/)" in shown
    assert "short side 48 px" in " ".join(run("data", "boxes").out.split())


def test_pixels_are_counted_by_class_and_void_apart(tmp_path: Path) -> None:
    root = write_masks(tmp_path, train=6, val=3, test=3)
    found = describe_data(root, "segmentation")
    assert found.void == {"train": 6 * WIDTH, "val": 3 * WIDTH, "test": 3 * WIDTH}
    assert sum(found.amounts["train"]) == 6 * WIDTH * (HEIGHT - 1)
    mask = np.asarray(Image.open(root / "val" / "masks" / "006.png"))
    assert found.amounts["val"][0] >= int((mask == 0).sum())
    assert found.sides == (None,) * len(found.dataset.classes)


def test_a_stray_number_is_told_of_with_its_mask_and_absent_ones_are_not(run: Run, tmp_path: Path) -> None:
    root = write_masks(tmp_path / "set")
    path = root / "train" / "masks" / "001.png"
    mask = np.array(Image.open(path))
    mask[0, 0] = 200
    Image.fromarray(mask).save(path)
    found = describe_data(root, "segmentation")
    assert found.listed == (0, 1, 2, 200)
    assert found.singles == (("class 200", path),)
    lines = list(data_lines(found))
    assert f"  class 200: {path}" in lines
    assert any(line.startswith("197 numbers below the largest are in no mask") for line in lines)
    assert all("class 17" not in line for line in lines)
    shown = run("data", str(root))
    assert "class 200" in shown.out
    assert "class 17" not in shown.out


def test_a_mask_of_another_size_is_told_of(tmp_path: Path) -> None:
    root = write_masks(tmp_path)
    Image.new("L", (9, 9)).save(root / "train" / "masks" / "000.png")
    lines = list(data_lines(describe_data(root, "segmentation")))
    assert any("it has 9 x 9 px, and its image 64 x 48 px; skipped" in line for line in lines)


def test_an_image_that_is_torn_beyond_its_header_is_left_out(tmp_path: Path) -> None:
    root = write_coco(tmp_path)
    path = root / "train" / "images" / "002.png"
    path.write_bytes(path.read_bytes()[:2000])
    (fault,) = describe_data(root, "detection").dataset.faults
    assert (fault.entry, fault.done, fault.of) == ("image id 2 (002.png)", "skipped", "image")
    assert "truncated" in fault.what


def test_the_command_describes_boxes(run: Run, tmp_path: Path) -> None:
    root = write_coco(tmp_path / "set")
    twin = root / "test" / "images" / "009.png"
    twin.write_bytes((root / "train" / "images" / "000.png").read_bytes())
    shown = run("data", str(root))
    assert shown.code == 0, shown.err
    assert "% of the image's" in shown.out
    assert "train: 6 images, val: 3 images, test: 3 images" in shown.out
    told = json.loads(run("data", str(root), "--json").out)
    assert (told["task"], told["classes"]) == ("detection", ["red", "green"])
    assert [[Path(p).name for p in pair] for pair in told["repeated"]] == [["000.png", "009.png"]]


def test_the_command_describes_masks(run: Run, tmp_path: Path) -> None:
    root = write_masks(tmp_path / "set")
    shown = run("data", str(root))
    assert shown.code == 0, shown.err
    assert "pixels, %" in shown.out
    assert "of all pixels are void (255) and are ignored" in shown.out


def test_another_task_than_the_layout_has_is_refused(run: Run, tmp_path: Path) -> None:
    write_masks(tmp_path / "masks")
    write_coco(tmp_path / "boxes")
    with tarfile.open(tmp_path / "boxes.tar", "w") as archive:
        archive.add(tmp_path / "boxes", "boxes")
    refused = run("data", "masks", "--task", "detection")
    assert refused.code == 2
    assert "masks looks like a set of images and masks, and boxes are needed" in " ".join(refused.err.split())
    refused = run("data", "boxes.tar", "--task", "segmentation")
    assert refused.code == 2
    assert "error: boxes.tar looks like a set of boxes, and masks are needed" in " ".join(refused.err.split())


def test_a_cache_that_cannot_be_written_is_named(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_coco(tmp_path / "boxes")
    with tarfile.open(tmp_path / "boxes.tar", "w") as archive:
        archive.add(tmp_path / "boxes", "boxes")
    (tmp_path / "full").write_text("a file where a folder is needed")
    monkeypatch.setenv("MNV2SEARCH_CACHE", str(tmp_path / "full"))
    refused = " ".join(run("data", "boxes.tar").err.split())
    assert f"boxes.tar cannot be unpacked to {tmp_path / 'full' / 'images'}" in refused
    assert "MNV2SEARCH_CACHE" in refused


@pytest.mark.parametrize("arguments", [("data", ""), ("train", "tiny32", "--data", "")], ids=["data", "train"])
def test_an_empty_path_is_refused(run: Run, arguments: tuple[str, ...]) -> None:
    refused = run(*arguments)
    assert refused.code == 2
    assert "the path is empty" in refused.err


def test_a_single_file_is_named_in_the_singular(run: Run, tmp_path: Path) -> None:
    draw_pictures(tmp_path / "photos" / "train")
    draw_pictures(tmp_path / "photos" / "test", count=4, seed=5)
    (first, *_) = (tmp_path / "photos" / "train").rglob("*.png")
    (second, *_) = (tmp_path / "photos" / "test").rglob("*.png")
    second.write_bytes(first.read_bytes())
    (first.parent / "notes.txt").write_text("no image")
    shown = " ".join(run("data", "photos").out.split())
    assert "1 file is no image and is left out" in shown
    assert "1 image is in two parts" in shown


def test_images_with_classes_are_described_like_those_with_boxes(tmp_path: Path) -> None:
    photos = describe_data(draw_pictures(tmp_path / "photos"))
    boxes = describe_data(write_coco(tmp_path / "boxes"))
    assert (photos.dataset.task, boxes.dataset.task) == ("classification", "detection")
    assert photos.images == photos.amounts
    assert photos.listed == (0, 1, 2)
    assert [sum(photos.amounts[split]) for split in SPLITS] == [42, 6, 12]
