"""Datasets: images with their annotations in three splits, and the faults of their files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from mnv2search.errors import DataError

Split: TypeAlias = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
# Names of splits in folders and tables.
SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
# Names of classes are truncated to this length.
LONGEST_NAME = 255

Corners: TypeAlias = tuple[float, float, float, float]


class Fault(NamedTuple):
    """A problem of a file, or of an `entry` in the file such as ``annotation 7``, with its consequence."""

    file: Path
    entry: str
    what: str
    done: Literal["skipped", "clipped"] = "skipped"
    of: Literal["annotation", "image"] = "annotation"

    def __str__(self) -> str:
        return f"{self.file}{f', {self.entry}' if self.entry else ''}: {self.what}; {self.done}"


@dataclass(frozen=True, slots=True)
class Example:
    """An image with its annotations.

    Attributes:
        labels: class indices from 0: one for a classified image, one per box for detection.
        boxes: corners in px.
        mask: file with the class of each pixel.
        size: width and height in px; (0, 0) for classification, whose images are not read in advance.
    """

    path: Path
    labels: tuple[int, ...] = ()
    boxes: tuple[Corners, ...] = ()
    mask: Path | None = None
    size: tuple[int, int] = (0, 0)

    @property
    def label(self) -> int:
        """The class of a classified image."""
        return self.labels[0]


class SplitFiles(NamedTuple):
    """The content of one split as returned by a reader; `entries` is the number of checked annotations."""

    classes: tuple[str, ...]
    examples: tuple[Example, ...]
    faults: tuple[Fault, ...] = ()
    entries: int = 0
    others: int = 0
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Images with annotations in three disjoint splits.

    Attributes:
        val: validation split, for the selection of checkpoints and networks.
        test: test split, only for the final metrics.
        task: ``classification``, ``detection`` or ``segmentation``.
        made: splits that were drawn at random, as (split, source).
        tests_val: whether the validation split of the source is used as `test`, because the source has no test split.
        void: mask value to ignore.
        others: number of files that are not images.
        left_out: other unused parts of the source, each with the reason.
    """

    root: Path
    classes: tuple[str, ...]
    train: tuple[Example, ...]
    val: tuple[Example, ...]
    test: tuple[Example, ...]
    task: str = "classification"
    made: tuple[tuple[Split, Split], ...] = ()
    seed: int = 0
    tests_val: bool = False
    faults: tuple[Fault, ...] = ()
    void: int = 255
    others: int = 0
    left_out: tuple[str, ...] = ()

    def part(self, split: Split) -> tuple[Example, ...]:
        """The examples of a split."""
        return {"train": self.train, "val": self.val, "test": self.test}[split]

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits that change with the files, their sizes and times, the annotations and the splits."""
        return self._digest(str)

    @property
    def content(self) -> str:
        """Like `fingerprint`, but independent of the path of the dataset."""
        root = self.root
        return self._digest(lambda path: str(path.relative_to(root)) if path.is_relative_to(root) else path.name)

    def _digest(self, spelled: Callable[[Path], str]) -> str:
        if self.task == "classification":
            digest = hashlib.sha256(repr(self.classes).encode())
            for split, example in self._examples():
                stat = example.path.stat()
                key = f"{split}\0{spelled(example.path)}\0{example.label}\0{stat.st_size}\0{stat.st_mtime_ns}"
                digest.update(os.fsencode(key))
            return digest.hexdigest()[:12]
        digest = hashlib.sha256(repr((self.task, self.classes, self.void)).encode())
        for split, example in self._examples():
            stats = [path.stat() for path in (example.path, example.mask) if path is not None]
            versions = [(stat.st_size, stat.st_mtime_ns) for stat in stats]
            digest.update(repr((split, spelled(example.path), example.boxes, example.labels, versions)).encode())
        return digest.hexdigest()[:12]

    def without(self, unreadable: Iterable[Path]) -> Dataset:
        """The dataset without some files.

        Raises:
            DataError: a split of a classification dataset loses the last image of a class.
        """
        removed = set(unreadable)
        parts = {split: tuple(e for e in self.part(split) if e.path not in removed) for split in SPLITS}
        rest = replace(self, train=parts["train"], val=parts["val"], test=parts["test"])
        rest.check_classes()
        return rest

    def check_classes(self) -> None:
        """Check that every split has an image of each class.

        Raises:
            DataError: a split lacks a class.
        """
        for split in SPLITS:
            present = {label for example in self.part(split) for label in example.labels}
            missing = [name for label, name in enumerate(self.classes) if label not in present]
            if missing and self.task == "classification":
                more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
                raise DataError(
                    f"{self.root}: {split} has no image of {', '.join(missing[:5])}{more}",
                    hint="add some, or remove the class from every part",
                )

    def _examples(self) -> Iterable[tuple[Split, Example]]:
        return ((split, example) for split in SPLITS for example in self.part(split))


def class_name(value: object) -> str:
    r"""The name of a class as valid UTF-8 text, even if the file or folder name is not.

    >>> class_name(7), class_name("gr\xfcn"), class_name("\udcff")
    ('7', 'grün', '\\udcff')
    """
    return str(value)[:LONGEST_NAME].encode("utf-8", "backslashreplace").decode("utf-8")
