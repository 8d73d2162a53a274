"""Which images there are, what they show, and which of them are for what."""

from __future__ import annotations

import hashlib
import os
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mnv2search.data.readers.folders import TAR_SUFFIXES, check_source, listed_folder, unpacked
from mnv2search.data.readers.tables import HUB, is_table, listed_table
from mnv2search.data.sources import SPLITS, Example, Listing, Split
from mnv2search.errors import DataError

__all__ = ["SPLITS", "Example", "ImageSet", "Split", "read_image_set"]

# Shares that are set aside where the source does not do it: for the final figures, and for what a search looks at.
TEST_SHARE = 0.2
VAL_SHARE = 0.15


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
        left_out: what else of the source is not used, each with its reason.
        tests_val: `test` is what the set calls val.
    """

    root: Path
    classes: tuple[str, ...]
    train: tuple[Example, ...]
    val: tuple[Example, ...]
    test: tuple[Example, ...]
    made: tuple[tuple[Split, Split], ...] = ()
    seed: int = 0
    others: int = 0
    left_out: tuple[str, ...] = ()
    tests_val: bool = False

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
                key = f"{split}\0{example.path}\0{example.label}\0{stat.st_size}\0{stat.st_mtime_ns}"
                found.update(os.fsencode(key))
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
    """The images of a source, in three parts.

    A source is a tree of class folders, with or without split folders above them (``root/train/CLASS/*.jpg`` and
    ``root/test/CLASS/*.jpg`` or ``val``, or ``root/CLASS/*.jpg``), a tar of such a tree, or a table: see
    `data.readers.tables`. Where only one part besides `train` is there it is for the final figures, and what
    a search decides by is drawn from `train`; where there is none both are drawn. Draws take the same share of every
    class.

    Args:
        source: a folder, a tar, a parquet file, or ``hf:`` and the name of a set on the Hugging Face hub.
        seed: of the draws.
        unpack_to: folder for the images of a tar or a table; needed for one.

    Raises:
        DataError: there is no such thing, or what is in it cannot be learned from: no images, fewer than two
            classes, a class that one part lacks, fewer images of a class than parts.
        MissingExtraError: a table needs a package that is not installed.
    """
    listing = _listing(source, unpack_to)
    classes = listing.classes
    if len(classes) < 2:
        found = f"only the class {classes[0]}" if classes else "no images in folders of classes"
        raise DataError(
            f"{source} holds {found}",
            hint="lay it out as CLASS/*.jpg, or train/CLASS/*.jpg and test/CLASS/*.jpg, with two classes or more",
        )
    listed: dict[Split, Sequence[Example]] = dict(listing.parts)
    made: list[tuple[Split, Split]] = []
    generator = random.Random(seed)
    tests_val = "test" not in listed and "val" in listed and "train" in listed
    if tests_val:
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
            others=listing.others,
            left_out=listing.left_out,
            tests_val=tests_val,
        )
    )


def _listing(source: Path, unpack_to: Path | None) -> Listing:
    """What the source holds, whichever kind it is."""
    check_source(source)
    if is_table(source):
        return listed_table(source, unpack_to)
    root = unpacked(source, unpack_to) if source.name.lower().endswith(TAR_SUFFIXES) else source
    if not root.is_dir():
        hint = "give a folder with one folder per class"
        if not root.exists() and not root.is_absolute() and len(root.parts) == 2:
            hint += f", or {HUB}{root.as_posix()} for a set of that name on the Hugging Face hub"
        what = "is no folder of images" if root.exists() else "does not exist"
        raise DataError(f"{source} {what}", hint=hint)
    return listed_folder(root)


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


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown
