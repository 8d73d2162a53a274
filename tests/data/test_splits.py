"""Laws of the splits that are drawn from a training split."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnv2search.data.dataset import SPLITS, Dataset, Example, Split, SplitFiles
from mnv2search.data.splits import assemble
from mnv2search.report.data import files_rows
from mnv2search.report.table_text import csv_text

COUNTS = st.lists(st.integers(3, 40), min_size=2, max_size=4)


def images(counts: list[int]) -> SplitFiles:
    """So many images of each class."""
    examples = [
        Example(Path(f"{label}/{number}.png"), (label,))
        for label, count in enumerate(counts)
        for number in range(count)
    ]
    return SplitFiles(tuple(f"class {label}" for label in range(len(counts))), tuple(examples))


def labels(dataset: Dataset) -> list[Counter[int]]:
    return [Counter(example.label for example in dataset.part(split)) for split in SPLITS]


@given(counts=COUNTS, seed=st.integers(0, 1000))
def test_drawn_splits_are_disjoint_and_lose_nothing(counts: list[int], seed: int) -> None:
    source = images(counts)
    dataset = assemble(Path("set"), "classification", {"train": source}, seed=seed)
    drawn = [example.path for split in SPLITS for example in dataset.part(split)]
    assert sorted(drawn) == sorted(example.path for example in source.examples)
    assert assemble(Path("set"), "classification", {"train": source}, seed=seed) == dataset


@given(counts=COUNTS, seed=st.integers(0, 1000))
def test_every_class_is_drawn_at_the_same_share(counts: list[int], seed: int) -> None:
    _, val, test = labels(assemble(Path("set"), "classification", {"train": images(counts)}, seed=seed))
    assert [test[label] for label in range(len(counts))] == [max(1, round(0.2 * count)) for count in counts]
    rest = [count - test[label] for label, count in enumerate(counts)]
    assert [val[label] for label in range(len(counts))] == [max(1, round(0.15 * count)) for count in rest]


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_a_validation_split_alone_is_tested_on(task: str) -> None:
    parts: dict[Split, SplitFiles] = {"train": images([9, 9]), "val": images([4, 4])}
    dataset = assemble(Path("set"), task, parts, seed=0)
    assert (dataset.test, dataset.tests_val, dataset.made) == (parts["val"].examples, True, (("val", "train"),))


def test_every_image_is_listed_once_with_its_split_and_class() -> None:
    dataset = assemble(Path("set"), "classification", {"train": images([7, 9])}, seed=3)
    rows = list(csv.DictReader(csv_text(files_rows(dataset)).splitlines()))
    expected = [
        {"path": str(example.path), "split": split, "class": f"class {example.label}"}
        for split in SPLITS
        for example in dataset.part(split)
    ]
    assert rows == expected
    assert len({row["path"] for row in rows}) == 16
