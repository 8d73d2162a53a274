"""A set of images, for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnv2search.data.pixels import UNREADABLE_SHARE
from mnv2search.report.rows import Column, Rows, counted

if TYPE_CHECKING:
    from mnv2search.results.data import Description, Sizes

__all__ = [
    "class_rows",
    "data_json",
    "data_lines",
    "made_lines",
    "name_of_test",
    "names_text",
    "repeated_lines",
    "sizes_line",
]

MOST_NAMED = 10


def class_rows(found: Description) -> Rows:
    """A row for each class, the most frequent first."""
    test = name_of_test(tests_val=found.images.tests_val)
    columns = (Column("class"), Column("train", "images"), Column("val", "images"), Column(test, "images"))
    counts = found.counts
    rows = [
        (name, *(str(counts[split][label]) for split in ("train", "val", "test")))
        for label, name in enumerate(found.images.classes)
    ]
    rows.sort(key=lambda row: -int(row[1]))
    total = ("all", *(str(sum(counts[split])) for split in ("train", "val", "test")))
    return Rows(title=f"images in {found.images.root}", columns=columns, rows=(*rows, total))


def data_lines(found: Description) -> Iterator[str]:
    """What the counts do not say."""
    images = found.images
    yield from sizes_line(found.sizes)
    yield from made_lines(images.made, seed=images.seed, how="the same share of every class")
    yield from (f"left out: {what}" for what in images.left_out)
    if images.others:
        yield f"{images.others} files are no images and are left out"
    most, least = max(found.counts["train"]), min(found.counts["train"])
    if most > 2 * least:
        yield f"the largest class has {most / least:.1f} times as many images as the smallest (in train)"
    if found.rare:
        yield f"rare classes, below a tenth of the median: {names_text(found.rare)}"
    if found.unreadable:
        verdict = "skipped in training" if found.is_readable_enough else "too many for training"
        allowed = f"one image, or {UNREADABLE_SHARE:.0%}, per part is allowed"
        yield f"{counted(len(found.unreadable), 'image')} cannot be read, {verdict} ({allowed}):"
        yield from (f"  {path}: {why}" for path, why in list(found.unreadable.items())[:MOST_NAMED])
        if len(found.unreadable) > MOST_NAMED:
            yield f"  and {len(found.unreadable) - MOST_NAMED} more"
    yield from repeated_lines(found.repeated)


def name_of_test(*, tests_val: bool) -> str:
    """What the final figures are made on.

    >>> name_of_test(tests_val=True)
    'test (from your val/)'
    """
    return "test (from your val/)" if tests_val else "test"


def names_text(names: Sequence[object]) -> str:
    """The first ten names, and how many more there are.

    >>> names_text(range(12))
    '0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more'
    """
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(str(name) for name in names[:MOST_NAMED]) + more


def sizes_line(sizes: Sizes | None) -> Iterator[str]:
    """How large images are."""
    if sizes is not None and sizes.least == sizes.most:
        yield f"short side {sizes.least} px"
    elif sizes is not None:
        yield f"short sides of {sizes.least} to {sizes.most} px, {sizes.median} px in the median"


def made_lines(made: Sequence[tuple[str, str]], *, seed: int, how: str) -> Iterator[str]:
    """Which parts are drawn from which."""
    for part, source in made:
        yield f"{part} is drawn from {source}, {how} (seed {seed})"


def repeated_lines(repeated: Sequence[tuple[Path, Path]]) -> Iterator[str]:
    """That images are in two parts."""
    if repeated:
        yield f"{len(repeated)} images are in two parts, so that figures on them flatter, such as"
        yield f"  {repeated[0][0]} and {repeated[0][1]}"


def data_json(found: Description) -> dict[str, Any]:
    """One document with our field names as keys."""
    images = found.images
    return {
        "root": str(images.root),
        "classes": list(images.classes),
        "counts": {split: list(counts) for split, counts in found.counts.items()},
        "made": [list(pair) for pair in images.made],
        "seed": images.seed,
        "others": images.others,
        "left_out": list(images.left_out),
        "short_px": None
        if found.sizes is None
        else {"least": found.sizes.least, "median": found.sizes.median, "most": found.sizes.most},
        "unreadable": [str(path) for path in found.unreadable],
        "is_readable_enough": found.is_readable_enough,
        "repeated": [[str(one), str(other)] for one, other in found.repeated],
        "rare": list(found.rare),
    }
