"""Train, validation and test splits of a dataset; missing ones are drawn from the training split."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

from mnv2search.data.dataset import SPLITS, Dataset, Example, Fault, Split, SplitFiles
from mnv2search.errors import DataError

# Shares drawn from train for the splits that the source lacks.
DRAWN_SHARES: dict[Split, float] = {"test": 0.2, "val": 0.15}
# A split with a larger share of faults is refused, because it is probably read in the wrong layout.
MOST_BROKEN = 0.5
SHOWN = 5


def assemble(root: Path, task: str, parts: Mapping[Split, SplitFiles], *, seed: int, void: int = 255) -> Dataset:
    """A dataset from the splits of a reader, which include at least ``train``.

    A validation split without a test split becomes the test split, and validation is drawn by the seed. For
    classification, a draw takes the same share of every class.

    Raises:
        DataError: the classes of the splits differ, most of a split is broken, or there is too little to train on.
    """
    classes = parts["train"].classes
    for split, part in parts.items():
        _check(root, task, split, part, classes)
    splits: dict[Split, Sequence[Example]] = {split: part.examples for split, part in parts.items()}
    tests_val = "test" not in splits and "val" in splits
    if tests_val:
        splits["test"] = splits.pop("val")
    made = _draw_missing(splits, root, classes if task == "classification" else None, random.Random(seed))
    if task == "detection" and not any(example.boxes for example in splits["train"]):
        raise DataError(f"{root} has no boxes in train", hint="annotate some images, or check the class ids")
    everything = parts.values()
    dataset = Dataset(
        root=root,
        task=task,
        classes=classes,
        **{split: tuple(splits[split]) for split in SPLITS},
        made=made,
        seed=seed,
        tests_val=tests_val,
        faults=tuple(chain.from_iterable(part.faults for part in everything)),
        void=void,
        others=sum(part.others for part in everything),
        left_out=tuple(chain.from_iterable(part.left_out for part in everything)),
    )
    dataset.check_classes()
    return dataset


def _draw_missing(
    splits: dict[Split, Sequence[Example]], root: Path, classes: Sequence[str] | None, generator: random.Random
) -> tuple[tuple[Split, Split], ...]:
    """Draw missing splits from train, with the same share of every class; returns (split, source) of each."""
    missing = [split for split in DRAWN_SHARES if split not in splits]
    for split in missing:
        groups = _whole(root, splits["train"]) if classes is None else _by_class(classes, splits["train"])
        splits["train"], splits[split] = _draw(groups, DRAWN_SHARES[split], generator)
    return tuple((split, "train") for split in missing)


def _check(root: Path, task: str, split: Split, part: SplitFiles, classes: tuple[str, ...]) -> None:
    if part.classes != classes:
        raise DataError(
            f"{root}: {split} has the classes {', '.join(part.classes)}, and train has {', '.join(classes)}",
            hint="give all parts the same classes in the same order",
        )
    if task != "classification":
        _check_broken(root, split, part)


def _check_broken(root: Path, split: Split, part: SplitFiles) -> None:
    usable = len(part.examples)
    lost = [fault for fault in part.faults if fault.of == "image"]
    if len(lost) > MOST_BROKEN * (usable + len(lost)):
        raise DataError(
            f"{len(lost)} of {usable + len(lost)} images of {split} in {root} are missing or broken:\n{_shown(lost)}",
            hint="add or repair the images, or check that the layout is the one for this reader",
        )
    skipped = [fault for fault in part.faults if fault.done == "skipped" and fault.of == "annotation"]
    if part.entries and len(skipped) > MOST_BROKEN * part.entries:
        raise DataError(
            f"{len(skipped)} of {part.entries} annotations of {split} in {root} are broken:\n{_shown(skipped)}",
            hint="repair them, or check that the layout is the one for this reader",
        )
    if usable < 2 and split == "train":
        raise DataError(f"{root} has {usable} usable image{'s' * (usable != 1)} in train", hint="give more")
    if not usable:
        raise DataError(f"{root} has no usable image in {split}", hint="add some, or leave the part out")


def _shown(faults: Sequence[Fault]) -> str:
    shown = "\n".join(f"  {fault}" for fault in faults[:SHOWN])
    return shown + (f"\n  and {len(faults) - SHOWN} more" if len(faults) > SHOWN else "")


def _by_class(classes: Sequence[str], examples: Sequence[Example]) -> list[list[Example]]:
    groups: dict[int, list[Example]] = defaultdict(list)
    for example in examples:
        groups[example.label].append(example)
    for label, own in sorted(groups.items()):
        if len(own) < 2:
            raise DataError(
                f"the class {classes[label]} has {len(own)} image, too few to be split",
                hint="add some, or remove it",
            )
    return [own for _, own in sorted(groups.items())]


def _whole(root: Path, examples: Sequence[Example]) -> list[Sequence[Example]]:
    if len(examples) < 3:
        raise DataError(f"{root} has too few images to be split ({len(examples)})", hint="give more")
    return [examples]


def _draw(
    groups: Sequence[Sequence[Example]], share: float, generator: random.Random
) -> tuple[list[Example], list[Example]]:
    """Two splits, the second with `share` of every group, but at least one example."""
    rest: list[Example] = []
    drawn: list[Example] = []
    for group in groups:
        chosen = set(generator.sample(range(len(group)), max(1, round(share * len(group)))))
        rest += [example for number, example in enumerate(group) if number not in chosen]
        drawn += [example for number, example in enumerate(group) if number in chosen]
    return rest, drawn
