"""Reading of a dataset from a folder, an archive or a table, in any supported layout."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from mnv2search.caches import cache_folder
from mnv2search.data.dataset import SPLIT_NAMES, SPLITS, Dataset, Split, SplitFiles
from mnv2search.data.readers.archives import dataset_root
from mnv2search.data.readers.boxes import read_coco, read_voc
from mnv2search.data.readers.folders import (
    MOST_DEPTH,
    check_source,
    entries,
    read_class_folders,
    split_folders,
)
from mnv2search.data.readers.masks import FOLDERS, mask_folders, named_classes, read_masks, text_lines
from mnv2search.data.readers.tables import HUB, is_table, read_table
from mnv2search.data.splits import assemble
from mnv2search.errors import DataError

LAYOUTS = {
    "classification": "CLASS/*.jpg, or train/CLASS/*.jpg and test/CLASS/*.jpg, with two classes or more",
    "detection": "train/annotations.json with train/images/ (COCO), or Annotations/*.xml with JPEGImages/ (VOC)",
    "segmentation": "train/images/ with train/masks/, or images/ with masks/",
}


class _Networks(NamedTuple):
    """Annotations of a task, and the networks for them."""

    annotations: str
    verb: str
    space: str

    @property
    def advice(self) -> str:
        return f"a network that {self.verb} (search: --space {self.space})"


NETWORKS = {
    "classification": _Networks("classes", "classifies", "mnv2"),
    "detection": _Networks("boxes", "detects", "ssdlite"),
    "segmentation": _Networks("images and masks", "segments", "deeplab-513"),
}


def read_dataset(
    source: Path, task: str, *, seed: int = 0, unpack_to: Path | None = None, void: int = 255
) -> Dataset:
    """The dataset in a folder, a tar of a folder, a parquet file, or ``hf:NAME`` on the Hugging Face hub.

    Classification reads class folders (``CLASS/*.jpg``, or ``train/CLASS/*.jpg`` with ``test`` or ``val`` beside) and
    tables, see `mnv2search.data.readers.tables`. Detection reads COCO's JSON (one file in each of `train`, `val` and
    `test`; several in `annotations`, named after the splits; or a single one) and Pascal VOC's XML (in `Annotations`,
    with the splits of `ImageSets/Main` if there are any, or in each of `train`, `val` and `test`). Segmentation reads
    images and masks of the same names. Missing splits are drawn by the seed; tars and tables need `unpack_to`, and
    `void` is the mask value to ignore.

    Raises:
        DataError: the dataset does not exist, or is not usable for training.
        MissingExtraError: a table needs a package that is not installed.
    """
    parts = _classified(source, unpack_to) if task == "classification" else _annotated(source, task, unpack_to, void)
    return assemble(source, task, parts, seed=seed, void=void)


def task_of_layout(source: Path, *, unpack_to: Path | None = None) -> str | None:
    """The task of the annotations in a folder or a tar; None without annotations.

    Raises:
        DataError: the tar cannot be unpacked.
    """
    root = dataset_root(source, unpack_to)
    if not root.is_dir():
        return None
    root = _inner_folder(root)
    if _has_masks(root, FOLDERS[:1]):
        return "segmentation"
    if _has_boxes(root):
        return "detection"
    return "segmentation" if _has_masks(root, FOLDERS) else None


def image_folder() -> Path:
    """The folder for unpacked and decoded images, next to the latencies in the user's cache folder."""
    return cache_folder(os.environ) / "images"


def _classified(source: Path, unpack_to: Path | None) -> dict[Split, SplitFiles]:
    check_source(source)
    if is_table(source):
        parts = read_table(source, unpack_to)
    else:
        root = dataset_root(source, unpack_to)
        if not root.is_dir():
            hint = "give a folder with one folder per class"
            if not root.exists() and not root.is_absolute() and len(root.parts) == 2:
                hint += f", or {HUB}{root.as_posix()} for a set of that name on the Hugging Face hub"
            what = "is not a folder of images" if root.exists() else "does not exist"
            raise DataError(f"{source} {what}", hint=hint)
        parts = read_class_folders(root)
        _check_class_folders(source, _inner_folder(root), parts["train"].classes)
    classes = parts["train"].classes
    if len(classes) < 2:
        found = f"only the class {classes[0]}" if classes else "no images in folders of classes"
        raise DataError(f"{source} contains {found}", hint=f"lay it out as {LAYOUTS['classification']}")
    return parts


def _annotated(source: Path, task: str, unpack_to: Path | None, void: int) -> dict[Split, SplitFiles]:
    root = dataset_root(source, unpack_to)
    if not root.is_dir():
        raise DataError(f"{source} is not a folder", hint=f"give a folder with {LAYOUTS[task]}")
    root = _inner_folder(root)
    _check_layout(source, root, task)
    parts = _boxes(root) if task == "detection" else _masks(root, void)
    if "train" not in parts:
        found = f"only {', '.join(parts)}" if parts else "nothing to learn from"
        raise DataError(f"{source} has {found}", hint=f"lay it out as {LAYOUTS[task]}")
    return parts


def _check_class_folders(source: Path, root: Path, classes: tuple[str, ...]) -> None:
    """Refuse a dataset with boxes or masks, whose folders are not classes; the error names the task."""
    if _has_masks(root, FOLDERS):
        task = "segmentation"
    elif _has_boxes(root) and (
        len(classes) < 2 or any((root / name).is_dir() for name in ("Annotations", "annotations"))
    ):
        task = "detection"
    else:
        return
    wanted = NETWORKS[task]
    raise DataError(
        f"{source} looks like a set of {wanted.annotations}, and folders of classes are needed",
        hint=f"take {wanted.advice}, or give a folder with {LAYOUTS['classification']}",
    )


def _has_masks(root: Path, pairs: Sequence[tuple[str, str]]) -> bool:
    folders = [root, *split_folders(root).values()]
    return any(mask_folders(folder, pairs) for folder in folders)


def _has_boxes(root: Path) -> bool:
    folders = [root, *split_folders(root).values()]
    patterns = ("*.json", "*.xml", "annotations/*.json", "[aA]nnotations/*.xml")
    return any(True for folder in folders for pattern in patterns for _ in folder.glob(pattern))


def _check_layout(source: Path, root: Path, task: str) -> None:
    """Refuse a dataset without annotations for the task; the error names the task that it looks like."""
    boxes, masks = _has_boxes(root), _has_masks(root, FOLDERS)
    if boxes if task == "detection" else masks:
        return
    wanted = "boxes" if task == "detection" else "masks"
    if boxes or masks:
        other = NETWORKS["detection" if boxes else "segmentation"]
        raise DataError(
            f"{source} looks like a set of {other.annotations}, and {wanted} are needed",
            hint=f"take {other.advice}, or give a set with {LAYOUTS[task]}",
        )
    advice = NETWORKS["classification"].advice
    raise DataError(
        f"{source} has no {wanted}", hint=f"lay it out as {LAYOUTS[task]}; for folders of classes, take {advice}"
    )


def _boxes(root: Path) -> dict[Split, SplitFiles]:
    if folders := split_folders(root):
        parts = {split: _boxes_in(folder, root) for split, folder in folders.items()}
        return _aligned({split: part for split, part in parts.items() if part is not None})
    if named := _named_after_splits(root / "annotations"):
        return {split: read_coco(file, root=root) for split, file in named.items()}
    lists = {split: root / "ImageSets" / "Main" / f"{split}.txt" for split in SPLITS}
    if lists["train"].is_file():
        return _aligned({split: _listed_voc(root, file) for split, file in lists.items() if file.is_file()})
    alone = _boxes_in(root, root)
    return {} if alone is None else {"train": alone}


def _named_after_splits(folder: Path) -> dict[Split, Path]:
    """The JSON files of a folder by the split in their names."""
    return {
        split: file
        for file in sorted(folder.glob("*.json"))
        for word, split in SPLIT_NAMES.items()
        if re.search(rf"(?<![a-z]){word}(?![a-z])", re.sub(r"\d", " ", file.stem.lower()))
    }


def _boxes_in(folder: Path, root: Path) -> SplitFiles | None:
    """The content of one folder in COCO's or Pascal VOC's layout."""
    files = sorted(folder.glob("*.json")) or sorted((folder / "annotations").glob("*.json"))
    if len(files) > 1:
        raise DataError(
            f"{folder} has {len(files)} JSON files, {files[0].name} and {files[1].name} among them",
            hint="keep one in each part",
        )
    if files:
        return read_coco(files[0], root=root)
    for place in (folder / "Annotations", folder / "annotations", folder):
        if files := sorted(place.glob("*.xml")):
            return read_voc(files)
    return None


def _listed_voc(root: Path, file: Path) -> SplitFiles:
    names = [Path(line.split()[0]).name for line in text_lines(file) if line.strip()]
    return read_voc([root / "Annotations" / f"{name}.xml" for name in names])


def _aligned(parts: dict[Split, SplitFiles]) -> dict[Split, SplitFiles]:
    """The splits with the classes of train, if their classes are a subset."""
    train = parts["train"].classes if "train" in parts else ()
    if not all(set(part.classes) <= set(train) for part in parts.values()):
        return parts
    return {split: _with_classes(part, train) for split, part in parts.items()}


def _with_classes(part: SplitFiles, classes: tuple[str, ...]) -> SplitFiles:
    labels = [classes.index(name) for name in part.classes]
    examples = tuple(replace(one, labels=tuple(labels[label] for label in one.labels)) for one in part.examples)
    return part._replace(classes=classes, examples=examples)


def _masks(root: Path, void: int) -> dict[Split, SplitFiles]:
    folders: dict[Split, Path] = split_folders(root) or {"train": root}
    if "train" not in folders:
        return {}
    names = named_classes([root, *folders.values()])
    parts: dict[Split, SplitFiles] = {"train": read_masks(folders.pop("train"), void=void, classes=names)}
    for split, folder in folders.items():
        parts[split] = read_masks(folder, void=void, classes=parts["train"].classes)
    return parts


def _inner_folder(root: Path) -> Path:
    """The folder with the splits, since an archive often contains a single folder with everything."""
    for _ in range(MOST_DEPTH):
        inside = entries(root)
        if len(inside) != 1 or not inside[0].is_dir() or inside[0].name.lower() in SPLIT_NAMES:
            break
        root = inside[0]
    return root
