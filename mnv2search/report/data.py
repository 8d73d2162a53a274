"""The description of a dataset as rows, lines and JSON."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mnv2search.data.dataset import SPLITS, Dataset, Fault, Split
from mnv2search.data.pixels import UNREADABLE_SHARE
from mnv2search.report.rows import Column, Rows, counted
from mnv2search.results.data import DataDescription, Quantiles
from mnv2search.untrusted import escaped

if TYPE_CHECKING:
    from mnv2search.tasks.anchor_fit import FittedAnchors

MOST_NAMED = 10
# The quantity that is counted for each class, and its unit in the table.
AMOUNTS = {
    "classification": ("images", "images"),
    "detection": ("boxes", "boxes"),
    "segmentation": ("pixels", "pixels, %"),
}
# Side of the smallest anchors of an SSDLite head by default, relative to the image's side.
SMALLEST_ANCHOR = 0.1


def data_rows(found: DataDescription) -> Rows:
    """A row for each class, most frequent first: numbers of images and boxes, or shares of pixels."""
    dataset = found.dataset
    columns, cells, totals = zip(*_columns(found), strict=True)
    order = sorted(found.listed, key=lambda label: -found.amounts["train"][label])
    sizes = ", ".join(f"{split}: {counted(len(dataset.part(split)), 'image')}" for split in SPLITS)
    return Rows(
        title=f"{AMOUNTS[dataset.task][0]} in {dataset.root}",
        columns=columns,
        rows=(*(tuple(cell(label) for cell in cells) for label in order), totals),
        notes=() if dataset.task == "classification" else (sizes,),
    )


def _columns(found: DataDescription) -> Iterator[tuple[Column, Callable[[int], str], str]]:
    """The columns, each with a function for the cell of a class, and the cell of the totals."""
    dataset, (_, unit) = found.dataset, AMOUNTS[found.dataset.task]
    is_classified, is_share = dataset.task == "classification", dataset.task == "segmentation"
    yield Column("class", align="right" if is_classified else "left"), lambda label: dataset.classes[label], "all"
    if not is_classified:
        yield Column("train", "images"), lambda label: str(found.images["train"][label]), str(len(dataset.train))
    names = "train", "val", "test (from your val/)" if dataset.tests_val else "test"
    for split, name in zip(SPLITS, names, strict=True):
        total = "100" if is_share else str(sum(found.amounts[split]))
        yield Column(name, unit), partial(_amount, found, split), total
    if dataset.task == "detection":
        yield Column("sides 5 %, median, 95 %", "% of the image's"), lambda label: _sides(found.sides[label]), ""


def files_rows(dataset: Dataset, unreadable: Collection[Path] = ()) -> Rows:
    """The path, the split (or ``unreadable``) and, for classification, the class of every image."""
    is_classified = dataset.task == "classification"
    return Rows(
        title=f"images in {dataset.root}",
        columns=tuple(Column(title, align="left") for title in ("path", "split", "class")),
        rows=tuple(
            (
                escaped(str(example.path)),
                "unreadable" if example.path in unreadable else split,
                dataset.classes[example.label] if is_classified else "",
            )
            for split in SPLITS
            for example in dataset.part(split)
        ),
    )


def data_lines(found: DataDescription) -> Iterator[str]:
    """Image sizes, random splits and problems of a dataset."""
    dataset = found.dataset
    yield from _size_lines(found)
    if dataset.task == "detection":
        yield from _box_lines(found)
        yield from _anchor_lines(found)
    if void := sum(found.void.values()):
        share = void / (void + sum(map(sum, found.amounts.values())))
        yield f"{100 * share:.1f} % of all pixels are void ({dataset.void}) and are ignored"
    how = "the same share of every class" if dataset.task == "classification" else "at random"
    sources = {source for _, source in dataset.made}
    place = "the images" if sources == {"train"} and not (dataset.root / "train").exists() else ""
    for split, source in dataset.made:
        yield f"{split} is drawn from {place or source}, {how} (seed {dataset.seed})"
    yield from (f"left out: {text}" for text in dataset.left_out)
    if dataset.others:
        are = "is no image and is" if dataset.others == 1 else "are no images and are"
        yield f"{counted(dataset.others, 'file')} {are} left out"
    yield from _class_lines(found)
    yield from _unreadable_lines(found)
    yield from _fault_lines(dataset.faults)
    if found.repeated:
        are = "is" if len(found.repeated) == 1 else "are"
        yield f"{counted(len(found.repeated), 'image')} {are} in two parts, which makes metrics too good, such as"
        yield f"  {found.repeated[0][0]} and {found.repeated[0][1]}"


def _size_lines(found: DataDescription) -> Iterator[str]:
    if (sizes := found.sizes) is not None and sizes.least == sizes.most:
        yield f"short side {sizes.least} px"
    elif sizes is not None:
        yield f"short sides of {sizes.least} to {sizes.most} px, {sizes.median} px in the median"


def data_json(found: DataDescription) -> dict[str, object]:
    """The description as a JSON document."""
    dataset = found.dataset
    common = {"root": str(dataset.root), "classes": dataset.classes}
    drawn = {"made": dataset.made, "seed": dataset.seed}
    short_px = None if found.sizes is None else asdict(found.sizes)
    problems = {"repeated": [tuple(map(str, pair)) for pair in found.repeated], "rare": found.rare}
    if dataset.task == "classification":
        return {
            **common,
            "counts": found.images,
            **drawn,
            "others": dataset.others,
            "left_out": dataset.left_out,
            "short_px": short_px,
            "unreadable": [str(path) for path in found.unreadable],
            "is_readable_enough": found.is_readable_enough,
            **problems,
        }
    return {
        **common,
        "task": dataset.task,
        "parts": {split: len(dataset.part(split)) for split in SPLITS},
        "images": found.images,
        AMOUNTS[dataset.task][0]: found.amounts,
        "void": found.void,
        "empty": found.empty,
        "sides": [None if sides is None else asdict(sides) for sides in found.sides],
        "most_boxes": found.most_boxes,
        "anchors": None if found.anchors is None else _anchors_json(found.anchors),
        **drawn,
        "short_px": short_px,
        "faults": list(map(str, dataset.faults)),
        **problems,
        "listed": found.listed,
        "singles": [(name, str(path)) for name, path in found.singles],
    }


def _anchors_json(fit: FittedAnchors) -> dict[str, object]:
    return {"network": fit.spec.name, "head": fit.fragment, "before": fit.before, "after": fit.after}


def faults_counted(faults: Sequence[Fault]) -> str:
    """Numbers of skipped and of clipped images and annotations; empty without faults.

    >>> from pathlib import Path
    >>> torn, long = Fault(Path("a"), "", "torn", of="image"), Fault(Path("b"), "", "too long", "clipped")
    >>> faults_counted([torn, long])
    '1 image skipped, 1 annotation clipped'
    """
    counts = {
        f"{things} {done}": sum(fault.of == things and fault.done == done for fault in faults)
        for things in ("image", "annotation")
        for done in ("skipped", "clipped")
    }
    return ", ".join(
        f"{counted(count, text.partition(' ')[0])} {text.partition(' ')[2]}"
        for text, count in counts.items()
        if count
    )


def _amount(found: DataDescription, split: Split, label: int) -> str:
    amounts = found.amounts[split]
    if found.dataset.task != "segmentation":
        return str(amounts[label])
    return f"{100 * amounts[label] / max(1, sum(amounts)):.2f}"


def _sides(sides: Quantiles | None) -> str:
    return "" if sides is None else f"{100 * sides.low:.1f}, {100 * sides.median:.1f}, {100 * sides.high:.1f}"


def _box_lines(found: DataDescription) -> Iterator[str]:
    dataset = found.dataset
    boxes, images = sum(map(sum, found.amounts.values())), sum(len(dataset.part(split)) for split in SPLITS)
    yield f"{boxes / images:.1f} boxes an image, {found.most_boxes} at most"
    if empty := sum(found.empty.values()):
        yield f"{counted(empty, 'image')} without a box: learned from as background"
    if small := [n for n, s in zip(dataset.classes, found.sides, strict=True) if s and s.median < SMALLEST_ANCHOR]:
        yield (
            f"smaller than the smallest anchors of SSDLite ({100 * SMALLEST_ANCHOR:.0f} % of the image's side) in "
            f"the median: {_names(small)}; a larger resolution or a smaller head.smallest_scale finds more of them"
        )


def _anchor_lines(found: DataDescription) -> Iterator[str]:
    if (fit := found.anchors) is not None:
        yield (
            f"anchors of {fit.spec.name} at {fit.spec.size} px: mean IoU of training boxes with their best anchors "
            f"(averaged over classes) {fit.before:.3f}, fitted {fit.after:.3f}; the head for a spec or a space:"
        )
        yield f"  {fit.fragment}"


def _class_lines(found: DataDescription) -> Iterator[str]:
    classes, amount = found.dataset.classes, AMOUNTS[found.dataset.task][0]
    present = [number for number in found.amounts["train"] if number]
    if present and max(present) > 2 * min(present):
        ratio = max(present) / min(present)
        yield f"the largest class has {ratio:.1f} times as many {amount} as the smallest (in train)"
    for split in SPLITS:
        if missing := [classes[label] for label in found.listed if not found.amounts[split][label]]:
            yield f"{split} shows nothing of {_names(missing)}"
    if found.rare:
        yield f"rare classes, below a tenth of the median: {_names(found.rare)}"
    if found.singles:
        yield "in one mask only, perhaps by mistake:"
        yield from _listed([f"{name}: {path}" for name, path in found.singles])
    if absent := len(classes) - len(found.listed):
        yield (
            f"{absent} numbers below the largest are in no mask; a network gets {len(classes)} classes for them: "
            "name the classes in a file classes.txt, or mend the masks"
        )


def _unreadable_lines(found: DataDescription) -> Iterator[str]:
    if found.unreadable:
        verdict = "skipped in training" if found.is_readable_enough else "too many for training"
        allowed = f"one image, or {100 * UNREADABLE_SHARE:.0f} %, per part is allowed"
        yield f"{counted(len(found.unreadable), 'image')} cannot be read, {verdict} ({allowed}):"
        yield from _listed([f"{path}: {why}" for path, why in found.unreadable.items()])


def _fault_lines(faults: Sequence[Fault]) -> Iterator[str]:
    for things in ("image", "annotation"):
        own = [fault for fault in faults if fault.of == things]
        kinds: dict[str, list[Fault]] = defaultdict(list)
        for fault in own:  # faults of a kind differ in names, numbers and boxes
            kinds[re.sub(r"\([^)]*\)|'[^']*'|[\d.]+", "", fault.what)].append(fault)
        if own:
            yield f"{faults_counted(own)}, by kind with an example:"
            yield from _listed([f"{len(same)} x {same[0]}" for same in sorted(kinds.values(), key=len, reverse=True)])


def _listed(texts: Sequence[str]) -> Iterator[str]:
    yield from (f"  {text}" for text in texts[:MOST_NAMED])
    if len(texts) > MOST_NAMED:
        yield f"  and {len(texts) - MOST_NAMED} more"


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more
