"""A set of scenes from a folder or a tar, whatever layout its annotations have."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from mnv2search.data.readers.boxes import read_coco, read_voc
from mnv2search.data.readers.folders import MOST_DEPTH, TAR_SUFFIXES, check_source, entries, folders_in, unpacked
from mnv2search.data.readers.masks import FOLDERS, named_classes, read_masks, text_lines
from mnv2search.data.scenes import Part, SceneSet, Task, assembled, with_classes
from mnv2search.data.sources import NAMES, Split
from mnv2search.errors import DataError

__all__ = ["read_scene_set", "task_in"]

LAYOUTS = {
    "detection": "train/annotations.json with train/images/ (COCO), or Annotations/*.xml with JPEGImages/ (VOC)",
    "segmentation": "train/images/ with train/masks/, or images/ with masks/",
}


def read_scene_set(
    source: Path, task: Task, *, seed: int = 0, unpack_to: Path | None = None, void: int = 255
) -> SceneSet:
    """The scenes of a folder, or of a tar of one.

    Detection reads COCO's JSON (one file in each of `train`, `val` and `test`; several in `annotations`, named after
    the parts; or one alone) and Pascal VOC's XML (in `Annotations`, with the parts of `ImageSets/Main` where there
    are any, or in each of `train`, `val` and `test`). Segmentation reads images and masks of the same names. Parts
    that are missing are drawn.

    Args:
        source: a folder, or a tar.
        task: what is to be read.
        seed: of the draws.
        unpack_to: folder for the files of a tar.
        void: number of the pixels of masks that count for nothing.

    Raises:
        DataError: there is nothing of the kind, or it cannot be learned from.
    """
    root = _root(source, unpack_to)
    if not root.is_dir():
        raise DataError(f"{source} is no folder", hint=f"give a folder with {LAYOUTS[task]}")
    root = _down(root)
    _refuse_other(source, root, task)
    parts = _boxes(root) if task == "detection" else _masks(root, void)
    if "train" not in parts:
        found = f"only {', '.join(parts)}" if parts else "nothing to learn from"
        raise DataError(f"{source} has {found}", hint=f"lay it out as {LAYOUTS[task]}")
    return assembled(source, task, parts, seed=seed, void=void)


def task_in(source: Path, *, unpack_to: Path | None = None) -> Task | None:
    """What the annotations of a folder or a tar are for, by its layout; None where there are no annotations.

    Raises:
        DataError: the tar cannot be unpacked.
    """
    root = _root(source, unpack_to)
    if not root.is_dir():
        return None
    root = _down(root)
    if _has_masks(root, FOLDERS[:1]):
        return "segmentation"
    if _has_boxes(root):
        return "detection"
    return "segmentation" if _has_masks(root, FOLDERS) else None


def _has_masks(root: Path, pairs: Sequence[tuple[str, str]]) -> bool:
    folders = [root, *_split_folders(root).values()]
    return any((folder / a).is_dir() and (folder / b).is_dir() for folder in folders for a, b in pairs)


def _has_boxes(root: Path) -> bool:
    folders = [root, *_split_folders(root).values()]
    patterns = ("*.json", "*.xml", "annotations/*.json", "[aA]nnotations/*.xml")
    return any(True for folder in folders for pattern in patterns for _ in folder.glob(pattern))


def _refuse_other(source: Path, root: Path, task: Task) -> None:
    """Refuse a set without a trace of what is to be read, and say what it looks like."""
    boxes, masks = _has_boxes(root), _has_masks(root, FOLDERS)
    if boxes if task == "detection" else masks:
        return
    wanted = "boxes" if task == "detection" else "masks"
    if boxes or masks:
        found, other = ("boxes", "detects") if boxes else ("images and masks", "segments")
        raise DataError(
            f"{source} looks like a set of {found}, and {wanted} are needed",
            hint=f"give a set with {LAYOUTS[task]}, or take a network that {other}",
        )
    raise DataError(f"{source} has no {wanted}", hint=f"lay it out as {LAYOUTS[task]}")


def _root(source: Path, unpack_to: Path | None) -> Path:
    check_source(source)
    return unpacked(source, unpack_to) if source.name.lower().endswith(TAR_SUFFIXES) else source


def _boxes(root: Path) -> dict[Split, Part]:
    folders = _split_folders(root)
    if folders:
        found = {split: _boxes_in(folder, root) for split, folder in folders.items()}
        return _aligned({split: part for split, part in found.items() if part is not None})
    named = {
        split: file
        for file in sorted((root / "annotations").glob("*.json"))
        for word, split in NAMES.items()
        if re.search(rf"(?<![a-z]){word}(?![a-z])", re.sub(r"\d", " ", file.stem.lower()))
    }
    if named:
        return {split: read_coco(file, root=root) for split, file in named.items()}
    listed = {split: root / "ImageSets" / "Main" / f"{split}.txt" for split in ("train", "val", "test")}
    if listed["train"].is_file():
        lists = {split: file for split, file in listed.items() if file.is_file()}
        return _aligned({NAMES[split]: _listed_voc(root, file) for split, file in lists.items()})
    alone = _boxes_in(root, root)
    return {} if alone is None else {"train": alone}


def _boxes_in(folder: Path, root: Path) -> Part | None:
    """What one folder holds, by COCO's layout or Pascal VOC's."""
    files = sorted(folder.glob("*.json")) or sorted((folder / "annotations").glob("*.json"))
    if len(files) > 1:
        raise DataError(
            f"{folder} has {len(files)} JSON files, {files[0].name} and {files[1].name} among them",
            hint="keep one in each part",
        )
    if files:
        return read_coco(files[0], root=root)
    annotations = next(
        (f for f in (folder / "Annotations", folder / "annotations", folder) if any(f.glob("*.xml"))), None
    )
    return None if annotations is None else read_voc(sorted(annotations.glob("*.xml")))


def _listed_voc(root: Path, file: Path) -> Part:
    names = [Path(line.split()[0]).name for line in text_lines(file) if line.strip()]
    return read_voc([root / "Annotations" / f"{name}.xml" for name in names])


def _aligned(parts: dict[Split, Part]) -> dict[Split, Part]:
    """Parts whose classes are named by what is in them, with the classes of all."""
    names = {part.classes for part in parts.values()}
    if len(names) <= 1 or "train" not in parts:
        return parts
    train = parts["train"].classes
    if not all(set(part.classes) <= set(train) for part in parts.values()):
        return parts
    return {split: with_classes(part, train) for split, part in parts.items()}


def _masks(root: Path, void: int) -> dict[Split, Part]:
    folders = _split_folders(root)
    names = named_classes([root, *folders.values()])
    if not folders:
        return {"train": read_masks(root, void=void, classes=names)}
    if "train" not in folders:
        return {}
    train = read_masks(folders["train"], void=void, classes=names)
    others = {split: folder for split, folder in folders.items() if split != "train"}
    return {
        "train": train,
        **{split: read_masks(folder, void=void, classes=train.classes) for split, folder in others.items()},
    }


def _split_folders(root: Path) -> dict[Split, Path]:
    folders = [path for path in folders_in(root) if path.name.lower() in NAMES]
    found: dict[Split, Path] = {}
    for folder in folders:
        split = NAMES[folder.name.lower()]
        if split in found:
            raise DataError(f"{root} has two folders for {split}", hint="keep one of them")
        found[split] = folder
    return found


def _down(root: Path) -> Path:
    """The folder that the parts are in: a tar often holds one folder with everything."""
    for _ in range(MOST_DEPTH):
        inside = entries(root)
        if len(inside) != 1 or not inside[0].is_dir() or inside[0].name.lower() in NAMES:
            break
        root = inside[0]
    return root
