"""Images with boxes or masks: which there are, which of them are for what, and what was wrong with the rest."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from mnv2search.data.image_files import checked_size
from mnv2search.data.images import SPLITS, TEST_SHARE, VAL_SHARE, Split
from mnv2search.errors import DataError
from mnv2search.untrusted import UnsafeFileError

__all__ = ["Corners", "Fault", "Part", "Scene", "SceneSet", "Task", "assembled", "faults_text", "image_sizes"]

Task: TypeAlias = Literal["detection", "segmentation"]
Corners: TypeAlias = tuple[float, float, float, float]
# Of what a set holds, the share that may be broken before it is refused: more is a mistake in how it is read.
MOST_BROKEN = 0.5
SHOWN = 5


class Fault(NamedTuple):
    """Something that is wrong with a file, and what became of it.

    Attributes:
        file: in which it stands.
        entry: which one, such as ``annotation 7``; empty for the whole file.
        what: is wrong.
        done: ``skipped`` or ``clipped``.
        of: what is skipped or clipped.
    """

    file: Path
    entry: str
    what: str
    done: Literal["skipped", "clipped"] = "skipped"
    of: Literal["annotation", "image"] = "annotation"

    def __str__(self) -> str:
        """As it is reported."""
        return f"{self.file}{f', {self.entry}' if self.entry else ''}: {self.what}; {self.done}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """An image with what is to be found in it.

    Attributes:
        image: file.
        size: width and height in px.
        boxes: corners of the objects in px; none for a scene of a segmentation.
        labels: their classes from 0.
        mask: file of the numbers of classes, pixel by pixel; None for a detection.
    """

    image: Path
    size: tuple[int, int]
    boxes: tuple[Corners, ...] = ()
    labels: tuple[int, ...] = ()
    mask: Path | None = None


class Part(NamedTuple):
    """What one reader found in one place.

    Attributes:
        classes: names in the order of the labels.
        scenes: sound ones.
        faults: of what was clipped or skipped.
        entries: boxes, or masks, that were looked at.
    """

    classes: tuple[str, ...]
    scenes: tuple[Scene, ...]
    faults: tuple[Fault, ...]
    entries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneSet:
    """Scenes in three parts without a common image.

    Attributes:
        root: folder or file that it was read from.
        task: what its annotations are for.
        classes: names in the order of the labels.
        train: to learn from.
        val: to decide by.
        test: for figures that are told once, at the end.
        faults: of what was clipped or skipped.
        void: number of the pixels of masks that count for nothing.
        made: the parts that were drawn from another by the seed, as (part, of which).
        tests_val: `test` is what the set calls val.
    """

    root: Path
    task: Task
    classes: tuple[str, ...]
    train: tuple[Scene, ...]
    val: tuple[Scene, ...]
    test: tuple[Scene, ...]
    faults: tuple[Fault, ...] = ()
    void: int = 255
    made: tuple[tuple[Split, Split], ...] = ()
    tests_val: bool = False

    def part(self, split: Split) -> tuple[Scene, ...]:
        """The scenes of a part."""
        return {"train": self.train, "val": self.val, "test": self.test}[split]

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits that differ where a file, an annotation or a part does."""
        found = hashlib.sha256(repr((self.task, self.classes, self.void)).encode())
        for split in SPLITS:
            for scene in self.part(split):
                stats = [path.stat() for path in (scene.image, scene.mask) if path is not None]
                marks = [(stat.st_size, stat.st_mtime_ns) for stat in stats]
                found.update(repr((split, str(scene.image), scene.boxes, scene.labels, marks)).encode())
        return found.hexdigest()[:12]


def image_sizes(paths: Iterable[Path | None]) -> dict[Path | None, tuple[int, int] | str]:
    """Width and height of each image, or why it cannot be used; every image is decoded to check it."""
    wanted = list(dict.fromkeys(paths))
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return dict(zip(wanted, pool.map(_size_or_reason, wanted), strict=True))


def _size_or_reason(path: Path | None) -> tuple[int, int] | str:
    if path is None:
        return "there is no such file"
    try:
        return checked_size(path)
    except UnsafeFileError as error:
        return f"it is not a readable image ({error})"


def assembled(root: Path, task: Task, parts: dict[Split, Part], *, seed: int, void: int = 255) -> SceneSet:
    """A set of parts; those that are missing are drawn from `train`, as for images of classes.

    Raises:
        DataError: parts have other classes, most of it is broken, or there is nothing to learn from.
    """
    classes = parts["train"].classes
    for split, part in parts.items():
        if part.classes != classes:
            raise DataError(
                f"{root}: {split} has the classes {', '.join(part.classes)}, and train has {', '.join(classes)}",
                hint="give all parts the same classes in the same order",
            )
        _refuse_broken(root, split, part)
    listed = {split: list(part.scenes) for split, part in parts.items()}
    made: list[tuple[Split, Split]] = []
    tests_val = "test" not in listed and "val" in listed
    if tests_val:
        listed["test"] = listed.pop("val")
    generator = random.Random(seed)
    for split, share in (("test", TEST_SHARE), ("val", VAL_SHARE)):
        if split not in listed:
            listed["train"], listed[split] = _drawn(root, listed["train"], share, generator)
            made.append((split, "train"))
    if task == "detection" and not any(scene.boxes for scene in listed["train"]):
        raise DataError(f"{root} has no boxes in train", hint="annotate some images, or check the class ids")
    return SceneSet(
        root=root,
        task=task,
        classes=classes,
        train=tuple(listed["train"]),
        val=tuple(listed["val"]),
        test=tuple(listed["test"]),
        faults=tuple(fault for part in parts.values() for fault in part.faults),
        void=void,
        made=tuple(made),
        tests_val=tests_val,
    )


def faults_text(faults: Sequence[Fault]) -> str:
    """The first few faults, a line each, and how many more there are."""
    shown = "\n".join(f"  {fault}" for fault in faults[:SHOWN])
    return shown + (f"\n  and {len(faults) - SHOWN} more" if len(faults) > SHOWN else "")


def _refuse_broken(root: Path, split: Split, part: Part) -> None:
    lost = [fault for fault in part.faults if fault.of == "image"]
    if len(lost) > MOST_BROKEN * (len(part.scenes) + len(lost)):
        raise DataError(
            f"{len(lost)} of {len(part.scenes) + len(lost)} images of {split} in {root} are missing or broken:\n"
            f"{faults_text(lost)}",
            hint="give the images, or check that the layout is what the reader takes it for",
        )
    skipped = [fault for fault in part.faults if fault.done == "skipped" and fault.of == "annotation"]
    if part.entries and len(skipped) > MOST_BROKEN * part.entries:
        raise DataError(
            f"{len(skipped)} of {part.entries} annotations of {split} in {root} are broken:\n{faults_text(skipped)}",
            hint="mend them, or check that the layout is what the reader takes it for",
        )
    if len(part.scenes) < 2 and split == "train":
        raise DataError(f"{root} has {len(part.scenes)} usable images in train", hint="give more")
    if not part.scenes:
        raise DataError(f"{root} has no usable image in {split}", hint="add some, or leave the part out")


def _drawn(
    root: Path, scenes: list[Scene], share: float, generator: random.Random
) -> tuple[list[Scene], list[Scene]]:
    if len(scenes) < 3:
        raise DataError(f"{root} has {len(scenes)} images, too few to be divided", hint="give more")
    chosen = set(generator.sample(range(len(scenes)), max(1, round(share * len(scenes)))))
    return (
        [scene for number, scene in enumerate(scenes) if number not in chosen],
        [scene for number, scene in enumerate(scenes) if number in chosen],
    )


def with_classes(part: Part, classes: tuple[str, ...]) -> Part:
    """The part with the classes of a larger set, which contain its own."""
    at = {number: classes.index(name) for number, name in enumerate(part.classes)}
    scenes = tuple(replace(scene, labels=tuple(at[label] for label in scene.labels)) for scene in part.scenes)
    return part._replace(classes=classes, scenes=scenes)
