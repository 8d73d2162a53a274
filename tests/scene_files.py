"""Small sets of scenes on the disk: coloured squares on noise, with boxes or masks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

__all__ = ["coco_content", "draw_scene", "write_coco", "write_masks", "write_voc"]

COLOURS = ((220, 40, 40), (40, 220, 40))
WIDTH, HEIGHT = 64, 48
CATEGORIES = [{"id": 7, "name": "red"}, {"id": 9, "name": "green"}]


def draw_scene(path: Path, seed: int) -> tuple[tuple[int, int, int, int], int]:
    """Writes an image with one square; its corners and its class."""
    generator = np.random.default_rng(seed)
    pixels = generator.integers(60, 120, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    side = int(generator.integers(14, 24))
    x, y = int(generator.integers(0, WIDTH - side)), int(generator.integers(0, HEIGHT - side))
    label = int(generator.integers(0, 2))
    pixels[y : y + side, x : x + side] = COLOURS[label]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return (x, y, x + side, y + side), label


def coco_content(folder: Path, count: int, first: int = 0) -> dict[str, Any]:
    """COCO's JSON of so many images, which are written too."""
    content: dict[str, Any] = {"images": [], "annotations": [], "categories": CATEGORIES}
    for number in range(first, first + count):
        name = f"{number:03}.png"
        (x0, y0, x1, y1), label = draw_scene(folder / "images" / name, number)
        content["images"].append({"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT})
        content["annotations"].append(
            {
                "id": number,
                "image_id": number,
                "category_id": CATEGORIES[label]["id"],
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": (x1 - x0) * (y1 - y0),
                "iscrowd": 0,
            }
        )
    return content


def write_coco(root: Path, **counts: int) -> Path:
    """Parts with images and annotations.json."""
    first = 0
    for split, count in (counts or {"train": 6, "val": 3, "test": 3}).items():
        content = coco_content(root / split, count, first)
        (root / split / "annotations.json").write_text(json.dumps(content), encoding="utf-8")
        first += count
    return root


VOC = """<annotation><filename>{name}</filename><size><width>64</width><height>48</height></size>
<object><name>{label}</name><bndbox><xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax></bndbox></object>
</annotation>"""


def write_voc(root: Path, count: int = 8) -> Path:
    """Pascal VOC's layout, the last two images for validation."""
    for number in range(count):
        name = f"{number:03}"
        (x0, y0, x1, y1), label = draw_scene(root / "JPEGImages" / f"{name}.png", number)
        text = VOC.format(x0 + 1, y0 + 1, x1, y1, name=f"{name}.png", label=CATEGORIES[label]["name"])
        (root / "Annotations").mkdir(exist_ok=True)
        (root / "Annotations" / f"{name}.xml").write_text(text, encoding="utf-8")
    lists = root / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    names = [f"{number:03}" for number in range(count)]
    (lists / "train.txt").write_text("\n".join(names[:-2]), encoding="utf-8")
    (lists / "val.txt").write_text("\n".join(names[-2:]), encoding="utf-8")
    return root


def write_masks(root: Path, *, alike: bool = False, **counts: int) -> Path:
    """Parts with images and masks: background 0, then the classes, or one for both; the image's rim is void."""
    number = 0
    for split, count in (counts or {"train": 6, "val": 3, "test": 3}).items():
        for _ in range(count):
            (x0, y0, x1, y1), label = draw_scene(root / split / "images" / f"{number:03}.png", number)
            mask = np.zeros((HEIGHT, WIDTH), np.uint8)
            mask[y0:y1, x0:x1] = 1 if alike else label + 1
            mask[0] = 255
            (root / split / "masks").mkdir(exist_ok=True)
            Image.fromarray(mask).save(root / split / "masks" / f"{number:03}.png")
            number += 1
    return root
