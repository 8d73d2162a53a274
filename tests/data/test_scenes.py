"""Sets with boxes and masks: every layout, and every kind of bad input with its file and entry."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scene_files import coco_content, draw_scene, write_coco, write_masks, write_voc

from mnv2search.data.readers.boxes import checked_box, read_coco
from mnv2search.data.reading import read_dataset
from mnv2search.errors import DataError


def edited(root: Path, **changes: Any) -> Path:
    """A set of COCO whose first annotation of `train` is changed."""
    write_coco(root)
    file = root / "train" / "annotations.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    content["annotations"][0].update(changes)
    file.write_text(json.dumps(content), encoding="utf-8")
    return root


def test_cocos_parts_are_read(tmp_path: Path) -> None:
    found = read_dataset(write_coco(tmp_path), "detection")
    assert (found.classes, len(found.train), len(found.val), len(found.test)) == (("red", "green"), 6, 3, 3)
    assert found.faults == ()
    expected = draw_scene(tmp_path / "again.png", 0)
    assert (found.train[0].boxes[0], found.train[0].labels) == (expected[0], (expected[1],))


def test_cocos_common_layout_is_read(tmp_path: Path) -> None:
    for split, count, first in (("train2017", 5, 0), ("val2017", 3, 5)):
        content = coco_content(tmp_path / "unused", count, first)
        (tmp_path / split).mkdir()
        for image in content["images"]:
            (tmp_path / "unused" / "images" / image["file_name"]).rename(tmp_path / split / image["file_name"])
        (tmp_path / "annotations").mkdir(exist_ok=True)
        (tmp_path / "annotations" / f"instances_{split}.json").write_text(json.dumps(content), encoding="utf-8")
    found = read_dataset(tmp_path, "detection")
    assert (len(found.train) + len(found.val), len(found.test)) == (5, 3)
    assert found.made == (("val", "train"),)


def test_one_json_is_divided(tmp_path: Path) -> None:
    (tmp_path / "all.json").write_text(json.dumps(coco_content(tmp_path, 10)), encoding="utf-8")
    found = read_dataset(tmp_path, "detection", seed=1)
    assert sorted(map(len, (found.train, found.val, found.test))) == [1, 2, 7]
    assert len({scene.path for scene in (*found.train, *found.val, *found.test)}) == 10
    assert read_dataset(tmp_path, "detection", seed=1) == found


def test_pascal_voc_is_read_with_its_lists(tmp_path: Path) -> None:
    found = read_dataset(write_voc(tmp_path), "detection")
    assert (found.classes, len(found.test)) == (("green", "red"), 2)
    (x0, y0, x1, y1), _ = draw_scene(tmp_path / "again.png", 7)
    assert found.test[-1].boxes == ((x0, y0, x1, y1),)


def test_masks_are_read(tmp_path: Path) -> None:
    found = read_dataset(write_masks(tmp_path), "segmentation")
    assert (found.classes, len(found.train)) == (("class 0", "class 1", "class 2"), 6)


def test_masks_have_the_names_of_a_file(tmp_path: Path) -> None:
    write_masks(tmp_path)
    (tmp_path / "classes.txt").write_text("ground\nred\ngreen\n", encoding="utf-8")
    assert read_dataset(tmp_path, "segmentation").classes == ("ground", "red", "green")


def test_a_tar_is_read(tmp_path: Path) -> None:
    write_coco(tmp_path / "set")
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        archive.add(tmp_path / "set", "set")
    found = read_dataset(tmp_path / "set.tar", "detection", unpack_to=tmp_path / "unpacked")
    assert len(found.train) == 6


@pytest.mark.parametrize(
    ("changes", "what", "done"),
    [
        ({"bbox": [-5, 3, 20, 20]}, "reaches beyond the image of 64 x 48 px", "clipped"),
        ({"bbox": [70, 3, 20, 20]}, "lies outside the image of 64 x 48 px", "skipped"),
        ({"bbox": [3, 3, 0, 20]}, "has no area", "skipped"),
        ({"bbox": [3, 3, -4, 20]}, "has no area", "skipped"),
        ({"bbox": [3, 3, float("nan"), 20]}, "not [x, y, width, height]", "skipped"),
        ({"bbox": [3, 3]}, "not [x, y, width, height]", "skipped"),
        ({"bbox": "3 3 4 4"}, "not [x, y, width, height]", "skipped"),
        ({"category_id": 8}, "the class id 8 is not one of 7, 9", "skipped"),
        ({"category_id": "7"}, "the class id '7' is not one of 7, 9", "skipped"),
        ({"image_id": 99}, "there is no image 99", "skipped"),
    ],
)
def test_a_bad_entry_is_reported_with_its_file(tmp_path: Path, changes: dict[str, Any], what: str, done: str) -> None:
    found = read_dataset(edited(tmp_path, **changes), "detection")
    (fault,) = found.faults
    assert (fault.file, fault.entry, fault.done) == (tmp_path / "train" / "annotations.json", "annotation id 0", done)
    assert what in str(fault)
    assert len(found.train) == 6
    assert sum(len(scene.boxes) for scene in found.train) == (6 if done == "clipped" else 5)


def test_crowds_are_left_out(tmp_path: Path) -> None:
    found = read_dataset(edited(tmp_path, iscrowd=1), "detection")
    assert sum(len(scene.boxes) for scene in found.train) == 5


@pytest.mark.parametrize("content", [b"", b"no image"])
def test_a_broken_image_is_skipped(tmp_path: Path, content: bytes) -> None:
    write_coco(tmp_path)
    (tmp_path / "train" / "images" / "001.png").write_bytes(content)
    found = read_dataset(tmp_path, "detection")
    assert [str(fault).partition(": ")[2] for fault in found.faults] == [
        "it is not a readable image (it is not a JPEG, PNG, WebP or BMP image); skipped"
    ]
    assert len(found.train) == 5


def test_a_missing_image_is_skipped(tmp_path: Path) -> None:
    write_coco(tmp_path)
    (tmp_path / "train" / "images" / "001.png").unlink()
    (fault,) = read_dataset(tmp_path, "detection").faults
    assert (fault.entry, fault.what) == ("image id 1 (001.png)", "there is no such file")


def test_an_image_is_not_looked_for_beyond_the_set(tmp_path: Path) -> None:
    write_coco(tmp_path / "set")
    draw_scene(tmp_path / "outside.png", 1)
    file = tmp_path / "set" / "train" / "annotations.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    content["images"][0]["file_name"] = "../../../outside.png"
    file.write_text(json.dumps(content), encoding="utf-8")
    assert [fault.what for fault in read_coco(file).faults] == ["there is no such file"]


def test_an_image_without_objects_is_kept(tmp_path: Path) -> None:
    write_coco(tmp_path)
    file = tmp_path / "train" / "annotations.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    del content["annotations"][0]
    file.write_text(json.dumps(content), encoding="utf-8")
    found = read_dataset(tmp_path, "detection")
    assert [len(scene.boxes) for scene in found.train] == [0, 1, 1, 1, 1, 1]
    assert found.faults == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"annotations.json cannot be used: it is not JSON: Expecting value on line 1, column 1"),
        ("{", r"annotations.json cannot be used: it is not JSON: .* on line 1, column 2"),
        ("[]", "has no lists images, annotations and categories"),
        ('{"images": [], "annotations": [], "categories": []}', "has no categories"),
        ('{"images": [1], "annotations": [], "categories": []}', "has no lists"),
        ('{"images": [], "annotations": [], "categories": [{"id": "a"}]}', "without a whole number as id"),
        (
            '{"images": [], "annotations": [], "categories": [{"id": 7, "name": "red"}, {"id": 9, "name": "green"}]}',
            "has 0 usable",
        ),
    ],
)
def test_a_json_that_is_none_is_refused(tmp_path: Path, text: str, message: str) -> None:
    write_coco(tmp_path)
    (tmp_path / "train" / "annotations.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_dataset(tmp_path, "detection")


def test_a_set_without_boxes_is_refused(tmp_path: Path) -> None:
    write_coco(tmp_path)
    file = tmp_path / "train" / "annotations.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**content, "annotations": []}), encoding="utf-8")
    with pytest.raises(DataError, match="has no boxes in train"):
        read_dataset(tmp_path, "detection")


def test_a_set_that_is_mostly_broken_is_refused_with_its_faults(tmp_path: Path) -> None:
    write_coco(tmp_path)
    file = tmp_path / "train" / "annotations.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    for annotation in content["annotations"][:5]:
        annotation["bbox"] = [0, 0, 0, 0]
    file.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(DataError, match=r"5 of 6 annotations of train .* are broken:\n.*annotation id 0: the box"):
        read_dataset(tmp_path, "detection")


def test_parts_with_other_classes_are_refused(tmp_path: Path) -> None:
    write_coco(tmp_path)
    file = tmp_path / "val" / "annotations.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    content["categories"][0]["name"] = "blue"
    file.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(DataError, match="val has the classes blue, green, and train has red, green"):
        read_dataset(tmp_path, "detection")


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        ("<xmax>", "<xmax>9", "reaches beyond the image"),
        ("<xmin>", "<xmin>x", "not four numbers"),
        ("<bndbox>", "<nobox>", "it is not valid XML"),
        ("<filename>000", "<filename>900", "there is no such file"),
    ],
)
def test_a_bad_xml_is_reported_with_its_file(tmp_path: Path, before: str, after: str, what: str) -> None:
    write_voc(tmp_path)
    file = tmp_path / "Annotations" / "000.xml"
    file.write_text(file.read_text(encoding="utf-8").replace(before, after), encoding="utf-8")
    (fault,) = read_dataset(tmp_path, "detection").faults
    assert fault.file == file
    assert what in fault.what


def test_a_mask_of_another_size_is_skipped(tmp_path: Path) -> None:
    write_masks(tmp_path)
    mask = tmp_path / "train" / "masks" / "001.png"
    Image.fromarray(np.zeros((10, 20), np.uint8)).save(mask)
    found = read_dataset(tmp_path, "segmentation")
    assert [str(fault) for fault in found.faults] == [f"{mask}: it has 20 x 10 px, and its image 64 x 48 px; skipped"]
    assert len(found.train) == 5


@pytest.mark.parametrize(
    ("mask", "what"),
    [
        (np.full((48, 64), 9, np.uint8), "the class id 9 is not below 3, the number of classes, and not void (255)"),
        (np.full((48, 64), 255, np.uint8), "every pixel is void"),
        (np.zeros((48, 64, 3), np.uint8), "it is not a mask of class indices (grey or with a palette)"),
    ],
)
def test_a_bad_mask_is_skipped(tmp_path: Path, mask: np.ndarray, what: str) -> None:
    write_masks(tmp_path)
    file = tmp_path / "val" / "masks" / "006.png"
    Image.fromarray(mask).save(file)
    found = read_dataset(tmp_path, "segmentation")
    assert [(fault.file, fault.what) for fault in found.faults] == [(file, what)]
    assert len(found.val) == 2


def test_an_image_without_a_mask_is_skipped(tmp_path: Path) -> None:
    write_masks(tmp_path)
    (tmp_path / "train" / "masks" / "001.png").unlink()
    (fault,) = read_dataset(tmp_path, "segmentation").faults
    assert fault.what == "there is no file of this name in masks"


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_a_folder_of_something_else_is_refused(tmp_path: Path, task: Any) -> None:
    draw_scene(tmp_path / "a" / "1.png", 0)
    with pytest.raises(DataError):
        read_dataset(tmp_path, task)
    with pytest.raises(DataError, match="is not a folder"):
        read_dataset(tmp_path / "missing", task)


@pytest.mark.parametrize("corners", [(0, 0, 5), (0, 0, 5, None), (0, 0, 5, True), (0, 0, 5, float("inf"))])
def test_what_is_no_box_goes(corners: tuple[object, ...]) -> None:
    assert checked_box(corners, (10, 10))[0] is None
