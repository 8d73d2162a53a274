"""Read every image and annotation of a dataset, and describe them."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from mnv2search.atomic import write_text
from mnv2search.data.dataset import SPLITS, Dataset, Example, Split
from mnv2search.data.image_files import MAX_FILE_BYTES, opened_image
from mnv2search.data.pixels import is_readable_enough
from mnv2search.data.readers.masks import mask_of, numbered
from mnv2search.data.reading import image_folder, read_dataset, task_of_layout
from mnv2search.errors import OptionError
from mnv2search.report.data import files_rows
from mnv2search.report.table_text import csv_text
from mnv2search.results.data import DataDescription, Quantiles, Sizes
from mnv2search.spec.catalog import entry
from mnv2search.untrusted import UnsafeFileError, read_bytes
from mnv2search.workflows.options import check_output, path_of

if TYPE_CHECKING:
    from mnv2search.tasks.anchor_fit import FittedAnchors

# Network whose anchors are fitted to boxes.
ANCHORED = "ssdlite_mobilenet_v2"
# A class with less than this share of the median class is rare.
RARE = 0.1


def describe_data(
    source: str | Path,
    task: str = "auto",
    *,
    seed: int = 0,
    void: int = 255,
    anchors: bool = False,
    files: str | Path | None = None,
    force: bool = False,
    workers: int | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> DataDescription:
    """Read every image of a dataset and describe them, as `mnv2search data` does.

    Args:
        source: dataset; see `mnv2search data --help`.
        task: ``classification``, ``detection`` or ``segmentation``; ``auto`` chooses by the layout.
        seed: seed of the splits that are drawn.
        void: mask value to ignore.
        anchors: fit the anchors of a detector, `ANCHORED`, to the training boxes.
        files: CSV file to write, with the path, split (or unreadable) and class of every image.
        force: overwrite an existing file.
        workers: number of threads; None takes one for each processor.
        on_progress: called with the number of images read.

    Raises:
        OptionError: anchors are requested for a dataset without boxes.
        DataError: the dataset cannot be trained on.
        MissingExtraError: a table needs a package that is not installed.
    """
    source, table = Path(source), path_of(files)
    if table is not None:
        check_output(table, force=force)
    cache = image_folder()
    if task == "auto":
        task = task_of_layout(source, unpack_to=cache) or "classification"
    dataset = read_dataset(source, task, seed=seed, unpack_to=cache, void=void)
    if anchors and dataset.task != "detection":
        raise OptionError(
            f"--anchors is for boxes, and {source} has none", hint="leave it out, or give --task detection"
        )
    statistics = _Statistics(dataset)
    examples = [(split, example) for split in SPLITS for example in dataset.part(split)]
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        read = pool.map(lambda item: (short_side_and_hash(item[1].path), _amounts(item[1])), examples)
        for done, ((split, example), (image, amounts)) in enumerate(zip(examples, read, strict=True), start=1):
            statistics.add(split, example, image, amounts)
            on_progress(done)
    found = statistics.description()
    if table is not None:
        write_text(table, f"{csv_text(files_rows(found.dataset, found.unreadable))}\n")
    return replace(found, anchors=_anchors(dataset)) if anchors else found


def _anchors(dataset: Dataset) -> FittedAnchors:
    from mnv2search.tasks.anchor_fit import fit_anchors  # late: they load torch
    from mnv2search.tasks.detection import Detection, boxes_of

    return fit_anchors(Detection().fitted(entry(ANCHORED).spec, dataset), boxes_of(dataset))


class _Statistics:
    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.images: dict[Split, Counter[int]] = {split: Counter() for split in SPLITS}
        self.amounts: dict[Split, Counter[int]] = {split: Counter() for split in SPLITS}
        self.void, self.empty = dict.fromkeys(SPLITS, 0), dict.fromkeys(SPLITS, 0)
        self.short_sides: list[int] = []
        self.by_content: dict[bytes, list[tuple[Split, Path]]] = defaultdict(list)
        self.masks: dict[int, list[Path]] = defaultdict(list)
        self.unreadable: dict[Path, str] = {}
        self.broken: Counter[Split] = Counter()

    def add(self, split: Split, example: Example, image: tuple[int, bytes] | str, amounts: Counter[int]) -> None:
        if isinstance(image, str):
            self.unreadable[example.path] = image
            self.broken[split] += 1
            return
        self.short_sides.append(image[0])
        self.by_content[image[1]].append((split, example.path))
        if example.mask is not None:
            self.void[split] += amounts.pop(self.dataset.void, 0)
            for label in amounts:
                self.masks[label].append(example.mask)
        self.amounts[split].update(amounts)
        self.images[split].update(amounts.keys())
        self.empty[split] += not amounts

    def description(self) -> DataDescription:
        dataset, masks, shorts = self.dataset, self.masks, self.short_sides
        names, listed = dataset.classes, self._listed()
        in_train = self.amounts["train"]
        typical = median(in_train[label] for label in listed)
        sizes = {split: [len(example.boxes) for example in dataset.part(split)] for split in SPLITS}
        return DataDescription(
            dataset=dataset,
            images=self._by_class(self.images),
            amounts=self._by_class(self.amounts),
            void=self.void,
            empty=self.empty,
            sides=_sides(dataset),
            most_boxes=max(chain(*sizes.values())),
            sizes=Sizes(least=min(shorts), median=int(median(shorts)), most=max(shorts)) if shorts else None,
            unreadable=self.unreadable,
            is_readable_enough=all(is_readable_enough(self.broken[split], of=len(sizes[split])) for split in SPLITS),
            repeated=tuple(filter(None, map(_in_two_splits, self.by_content.values()))),
            rare=tuple(names[label] for label in listed if in_train[label] < RARE * typical),
            listed=listed,
            singles=tuple((names[label], masks[label][0]) for label in listed if len(masks[label]) == 1),
        )

    def _listed(self) -> tuple[int, ...]:
        """The labels to report: those that occur, if the numbers in masks have no names, otherwise all."""
        names = self.dataset.classes
        is_unnamed = self.dataset.task == "segmentation" and names == numbered(len(names))
        return tuple(label for label in range(len(names)) if self.masks[label] or not is_unnamed)

    def _by_class(self, counts: Mapping[Split, Counter[int]]) -> dict[Split, tuple[int, ...]]:
        return {split: tuple(counts[split][label] for label in range(len(self.dataset.classes))) for split in SPLITS}


def short_side_and_hash(path: Path) -> tuple[int, bytes] | str:
    """Short side of an image in px and the hash of its file, or the reason why it cannot be read."""
    try:
        content = read_bytes(path, max_bytes=MAX_FILE_BYTES)
        with opened_image(content, as_rgb=False) as opened:
            return min(opened.size), hashlib.blake2b(content, digest_size=16).digest()
    except UnsafeFileError as error:
        return str(error)
    except OSError as error:
        return error.strerror or str(error)


def _amounts(example: Example) -> Counter[int]:
    mask = None if example.mask is None else mask_of(example.mask)
    if mask is None:
        return Counter(example.labels)
    numbers, pixels = np.unique(mask, return_counts=True)
    return Counter(dict(zip(numbers.tolist(), pixels.tolist(), strict=True)))


def _in_two_splits(same: Sequence[tuple[Split, Path]]) -> tuple[Path, Path] | None:
    split, path = same[0]
    other = next((other for other_split, other in same[1:] if other_split != split), None)
    return None if other is None else (path, other)


def _sides(dataset: Dataset) -> tuple[Quantiles | None, ...]:
    by_class: dict[int, list[float]] = defaultdict(list)
    for example in dataset.train:
        area = example.size[0] * example.size[1]
        for (x0, y0, x1, y1), label in zip(example.boxes, example.labels, strict=False):
            by_class[label].append(((x1 - x0) * (y1 - y0) / area) ** 0.5)
    return tuple(_quantiles(by_class[label]) for label in range(len(dataset.classes)))


def _quantiles(sides: Sequence[float]) -> Quantiles | None:
    if not sides:
        return None
    low, middle, high = np.quantile(sides, (0.05, 0.5, 0.95))
    return Quantiles(low=float(low), median=float(middle), high=float(high))
