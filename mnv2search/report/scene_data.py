"""A set of scenes, for people."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mnv2search.report.data import MOST_NAMED, made_lines, name_of_test, names_text, repeated_lines, sizes_line
from mnv2search.report.faults import faults_counted
from mnv2search.report.rows import Column, Rows, counted

if TYPE_CHECKING:
    from mnv2search.data.scenes import Fault
    from mnv2search.results.data import Quantiles, SceneDescription

__all__ = ["scene_json", "scene_lines", "scene_rows"]

SPLITS = ("train", "val", "test")
# The smallest anchors of an SSDLite head as the spec language has it by default, over the image's side.
SMALLEST_ANCHOR = 0.1


def scene_rows(found: SceneDescription) -> Rows:
    """A row for each class, the most frequent first: images and boxes, or images and shares of the pixels."""
    scenes = found.scenes
    boxes = scenes.task == "detection"
    amount, unit = ("boxes", "") if boxes else ("pixels", ", %")
    columns = [Column("class", align="left"), Column("train", "images")]
    test = name_of_test(tests_val=scenes.tests_val)
    columns += [Column(split, f"{amount}{unit}") for split in ("train", "val", test)]
    if boxes:
        columns.append(Column("sides 5 %, median, 95 %", "% of the image's"))
    rows = [
        (
            name,
            str(found.images["train"][label]),
            *(_amount(found, split, label) for split in ("train", "val", "test")),
            *([_sides(found.sides[label])] if boxes else []),
        )
        for label, name in enumerate(scenes.classes)
    ]
    order = sorted(found.listed, key=lambda label: -found.amounts["train"][label])
    totals = [str(sum(found.amounts[split])) if boxes else "100" for split in found.amounts]
    total = ("all", str(len(scenes.train)), *totals, *([""] if boxes else []))
    return Rows(
        title=f"{amount} in {scenes.root}",
        columns=tuple(columns),
        rows=(*(rows[label] for label in order), total),
        notes=(", ".join(f"{split}: {counted(len(scenes.part(split)), 'image')}" for split in found.amounts),),
    )


def scene_lines(found: SceneDescription) -> Iterator[str]:
    """What the counts do not say."""
    scenes = found.scenes
    yield from sizes_line(found.sizes)
    if scenes.task == "detection":
        boxes = sum(map(sum, found.amounts.values()))
        images = sum(len(scenes.part(split)) for split in found.amounts)
        yield f"{boxes / images:.1f} boxes an image, {found.most_boxes} at most"
        if none := sum(found.empty.values()):
            yield f"{counted(none, 'image')} without a box: learned from as background"
        if small := [n for n, s in zip(scenes.classes, found.sides, strict=True) if s and s.median < SMALLEST_ANCHOR]:
            yield (
                f"smaller than the smallest anchors of SSDLite ({SMALLEST_ANCHOR:.0%} of the image's side) in the "
                f"median: {names_text(small)}; a larger resolution or a smaller head.smallest_scale finds "
                "more of them"
            )
    elif void := sum(found.void.values()):
        share = void / (void + sum(map(sum, found.amounts.values())))
        yield f"{share:.1%} of all pixels are void ({scenes.void}) and count for nothing"
    yield from made_lines(scenes.made, seed=found.seed, how="at random")
    yield from _imbalance(found)
    yield from _fault_lines(scenes.faults)
    yield from repeated_lines(found.repeated)


def scene_json(found: SceneDescription) -> dict[str, Any]:
    """One document with our field names as keys."""
    scenes = found.scenes
    return {
        "root": str(scenes.root),
        "task": scenes.task,
        "classes": list(scenes.classes),
        "parts": {split: len(scenes.part(split)) for split in found.amounts},
        "images": {split: list(counts) for split, counts in found.images.items()},
        "boxes" if scenes.task == "detection" else "pixels": {
            split: list(amounts) for split, amounts in found.amounts.items()
        },
        "void": found.void,
        "empty": found.empty,
        "sides": [None if sides is None else asdict(sides) for sides in found.sides],
        "most_boxes": found.most_boxes,
        "seed": found.seed,
        "made": [list(pair) for pair in scenes.made],
        "short_px": None if found.sizes is None else asdict(found.sizes),
        "faults": [str(fault) for fault in scenes.faults],
        "repeated": [[str(one), str(other)] for one, other in found.repeated],
        "rare": list(found.rare),
        "listed": list(found.listed),
        "singles": [[name, str(path)] for name, path in found.singles],
    }


def _amount(found: SceneDescription, split: Any, label: int) -> str:
    amounts = found.amounts[split]
    if found.scenes.task == "detection":
        return str(amounts[label])
    return f"{100 * amounts[label] / max(1, sum(amounts)):.2f}"


def _sides(sides: Quantiles | None) -> str:
    return "" if sides is None else f"{100 * sides.low:.1f}, {100 * sides.median:.1f}, {100 * sides.high:.1f}"


def _imbalance(found: SceneDescription) -> Iterator[str]:
    amount = "boxes" if found.scenes.task == "detection" else "pixels"
    classes = found.scenes.classes
    known = [number for number in found.amounts["train"] if number]
    if max(known) > 2 * min(known):
        yield (
            f"the largest class has {max(known) / min(known):.1f} times as many {amount} as the smallest (in train)"
        )
    for split in found.amounts:
        if lacking := [classes[label] for label in found.listed if not found.amounts[split][label]]:
            yield f"{split} shows nothing of {names_text(lacking)}"
    if found.rare:
        yield f"rare classes, below a tenth of the median: {names_text(found.rare)}"
    if found.singles:
        yield "in one mask only, perhaps by mistake:"
        yield from _named([f"{name}: {path}" for name, path in found.singles])
    if absent := len(classes) - len(found.listed):
        yield (
            f"{absent} numbers below the largest are in no mask; a network gets {len(classes)} classes for them: "
            "name the classes in a file classes.txt, or mend the masks"
        )


def _fault_lines(faults: Sequence[Fault]) -> Iterator[str]:
    """What is wrong with annotations, by kind, with how many there are and an example."""
    for things in ("image", "annotation"):
        own = [fault for fault in faults if fault.of == things]
        kinds: dict[str, list[Fault]] = defaultdict(list)
        for fault in own:
            # what differs within a kind are names, numbers and boxes
            kinds[re.sub(r"\([^)]*\)|'[^']*'|[\d.]+", "", fault.what)].append(fault)
        if own:
            yield f"{faults_counted(own)}, by kind with an example:"
            yield from _named([f"{len(same)} x {same[0]}" for same in sorted(kinds.values(), key=len, reverse=True)])


def _named(names: Sequence[str]) -> Iterator[str]:
    yield from (f"  {name}" for name in names[:MOST_NAMED])
    if len(names) > MOST_NAMED:
        yield f"  and {len(names) - MOST_NAMED} more"
