"""Which images there are, what they show, and which of them are for what."""

from __future__ import annotations

import hashlib
import random
import tarfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from mnv2search.errors import DataError

__all__ = ["SPLITS", "Example", "ImageSet", "Split", "read_image_set", "unpacked"]

Split: TypeAlias = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
# How the folders of splits are called.
NAMES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")
# Shares that are set aside where the tree does not do it: for the final figures, and for what a search looks at.
TEST_SHARE = 0.2
VAL_SHARE = 0.15
# A tar beyond this is no set of images for one machine, or means harm.
MOST_TAR_BYTES = 200e9


@dataclass(frozen=True, slots=True)
class Example:
    """An image and the index of its class."""

    path: Path
    label: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSet:
    """Images with their classes, in three parts without a common image.

    Attributes:
        root: folder or file that it was read from.
        classes: their names, in the order of the labels.
        train: to learn from.
        val: to decide by, such as which network of a search is best; never learned from while that is open.
        test: for figures that are told once, at the end.
        made: the parts that were drawn from another by the seed, as (part, of which).
        seed: of the draw.
        others: files in the tree that are no images.
    """

    root: Path
    classes: tuple[str, ...]
    train: tuple[Example, ...]
    val: tuple[Example, ...]
    test: tuple[Example, ...]
    made: tuple[tuple[Split, Split], ...] = ()
    seed: int = 0
    others: int = 0

    def part(self, split: Split) -> tuple[Example, ...]:
        """The images of a part."""
        return {"train": self.train, "val": self.val, "test": self.test}[split]

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits that differ where a file, its size or its part does."""
        found = hashlib.sha256(repr(self.classes).encode())
        for split in SPLITS:
            for example in self.part(split):
                stat = example.path.stat()
                found.update(f"{split}\0{example.path}\0{example.label}\0{stat.st_size}\0{stat.st_mtime_ns}".encode())
        return found.hexdigest()[:12]

    def without(self, unreadable: Iterable[Path]) -> ImageSet:
        """The set without some files.

        Raises:
            DataError: nothing of a part, or of a class in `train`, is left.
        """
        gone = set(unreadable)
        parts = {split: tuple(e for e in self.part(split) if e.path not in gone) for split in SPLITS}
        return _checked(replace(self, train=parts["train"], val=parts["val"], test=parts["test"]))


def read_image_set(source: Path, *, seed: int = 0, unpack_to: Path | None = None) -> ImageSet:
    """The images of a tree of class folders, with or without split folders above them, or of a tar of such a tree.

    ``root/train/CLASS/*.jpg`` and ``root/test/CLASS/*.jpg`` (or ``val``), or ``root/CLASS/*.jpg``. Where only one
    part besides `train` is there it is for the final figures, and what a search decides by is drawn from `train`;
    where there is none both are drawn. Draws take the same share of every class.

    Args:
        source: a folder, or a tar.
        seed: of the draws.
        unpack_to: folder for the files of a tar; needed for one.

    Raises:
        DataError: there is no such thing, or what is in it cannot be learned from: no images, fewer than two
            classes, a class that one part lacks, fewer images of a class than parts.
    """
    root = unpacked(source, unpack_to) if source.name.lower().endswith(TAR_SUFFIXES) else source
    if not root.is_dir():
        raise DataError(f"{source} is no folder of images", hint="give a folder with one folder per class")
    root = _down(root)
    parts, others = _parts(root)
    classes = tuple(sorted({name for part in parts.values() for name in part}))
    if len(classes) < 2:
        found = f"only the class {classes[0]}" if classes else "no images in folders of classes"
        raise DataError(
            f"{source} holds {found}",
            hint="lay it out as CLASS/*.jpg, or train/CLASS/*.jpg and test/CLASS/*.jpg, with two classes or more",
        )
    index = {name: label for label, name in enumerate(classes)}
    listed = {
        split: [Example(path, index[name]) for name in sorted(part) for path in part[name]]
        for split, part in parts.items()
    }
    made: list[tuple[Split, Split]] = []
    generator = random.Random(seed)
    if "test" not in listed and "val" in listed and "train" in listed:
        listed["test"] = listed.pop("val")
    if "test" not in listed:
        listed["train"], listed["test"] = _drawn(listed["train"], TEST_SHARE, generator, classes)
        made.append(("test", "train"))
    if "val" not in listed:
        listed["train"], listed["val"] = _drawn(listed["train"], VAL_SHARE, generator, classes)
        made.append(("val", "train"))
    return _checked(
        ImageSet(
            root=source,
            classes=classes,
            train=tuple(listed["train"]),
            val=tuple(listed["val"]),
            test=tuple(listed["test"]),
            made=tuple(made),
            seed=seed,
            others=others,
        )
    )


def _checked(images: ImageSet) -> ImageSet:
    """Refuse what cannot be learned from."""
    counts = {split: Counter(e.label for e in images.part(split)) for split in SPLITS}
    for split in SPLITS:
        missing = [name for label, name in enumerate(images.classes) if not counts[split][label]]
        if missing:
            raise DataError(
                f"{images.root}: {split} has no image of {_listed(missing)}",
                hint="add some, or remove the class from every part",
            )
    return images


def _down(root: Path) -> Path:
    """The folder that the classes or parts are in: a tar often holds one folder with everything."""
    while True:
        inside = [p for p in root.iterdir() if not p.name.startswith(".")]
        folders = [p for p in inside if p.is_dir()]
        alone = len(folders) == 1 and not any(p.suffix.lower() in SUFFIXES for p in inside)
        if not alone or folders[0].name.lower() in NAMES or not any(p.is_dir() for p in folders[0].iterdir()):
            return root
        root = folders[0]


def _parts(root: Path) -> tuple[dict[Split, dict[str, list[Path]]], int]:
    """The images by part and class, and how many other files there are."""
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    splits = [(p, NAMES[p.name.lower()]) for p in folders if p.name.lower() in NAMES]
    if splits and not any(split == "train" for _, split in splits):
        raise DataError(f"{root} has {splits[0][0].name}/ but no train/", hint="add it, or leave out the parts")
    twice = [name for name, count in Counter(split for _, split in splits).items() if count > 1]
    if twice:
        raise DataError(f"{root} has two folders for {twice[0]}", hint="keep one of them")
    if splits and len(splits) < len(folders):
        stray = next(p for p in folders if p.name.lower() not in NAMES)
        raise DataError(
            f"{root} has parts ({splits[0][0].name}/) and {stray.name}/ beside them",
            hint="move every class into the parts",
        )
    found: dict[Split, dict[str, list[Path]]] = {}
    others = 0
    for folder, split in splits or [(root, "train")]:
        found[split] = {}
        for inner in sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")):
            files = sorted(p for p in inner.rglob("*") if p.is_file())
            images = [p for p in files if p.suffix.lower() in SUFFIXES]
            others += len(files) - len(images)
            if images:
                found[split][inner.name] = images
    return found, others


def _drawn(
    examples: Sequence[Example], share: float, generator: random.Random, classes: Sequence[str]
) -> tuple[list[Example], list[Example]]:
    """Two parts, the second with this share of every class, and at least one image."""
    by_class: dict[int, list[Example]] = {}
    for example in examples:
        by_class.setdefault(example.label, []).append(example)
    kept: list[Example] = []
    drawn: list[Example] = []
    for label, own in sorted(by_class.items()):
        if len(own) < 2:
            raise DataError(
                f"the class {classes[label]} has {len(own)} image, too few to be divided",
                hint="add some, or remove it",
            )
        chosen = set(generator.sample(range(len(own)), max(1, round(share * len(own)))))
        kept += [e for i, e in enumerate(own) if i not in chosen]
        drawn += [e for i, e in enumerate(own) if i in chosen]
    return kept, drawn


def unpacked(source: Path, folder: Path | None) -> Path:
    """A folder with the files of a tar, unpacked once."""
    if folder is None:
        raise DataError(f"{source} is a tar", hint="unpack it, or give a folder to unpack it to")
    try:
        stat = source.stat()
        mark = hashlib.sha256(f"{source.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}".encode()).hexdigest()[:16]
        target = folder / mark
        if target.is_dir():
            return target
        part = folder / f"{mark}.part"
        part.mkdir(parents=True, exist_ok=True)
        with tarfile.open(source) as archive:
            size = 0
            for member in archive:
                size += member.size
                if size > MOST_TAR_BYTES:
                    raise DataError(
                        f"{source} holds more than {MOST_TAR_BYTES / 1e9:.0f} GB", hint="unpack it yourself"
                    )
                if member.isfile():
                    archive.extract(member, part, filter="data")
        part.rename(target)
    except FileNotFoundError:
        raise DataError(f"there is no file {source}", hint="check the path") from None
    except (tarfile.TarError, EOFError) as error:
        raise DataError(f"{source} is no sound tar: {error}", hint="make it anew, or give the folder") from error
    except OSError as error:
        raise DataError(f"{source} cannot be unpacked: {error.strerror or error}", hint="check the disk") from error
    return target


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown
