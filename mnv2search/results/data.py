"""The description of a dataset: counts, sizes and faults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mnv2search.data.dataset import Dataset, Split
from mnv2search.display import Displayed

if TYPE_CHECKING:
    from mnv2search.tasks.anchor_fit import FittedAnchors


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Short sides of images in px."""

    least: int
    median: int
    most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantiles:
    """5 %, 50 % and 95 % quantiles of the relative sides of boxes: square roots of their share of the image area."""

    low: float
    median: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class DataDescription(Displayed):
    """The content of a dataset before a training.

    Attributes:
        images: number of readable images with each class, by split.
        amounts: number of readable images, boxes or pixels of each class, by split.
        void: number of ignored pixels, by split.
        empty: number of images without any object, by split.
        sides: relative sides of the boxes of each class in ``train``; None without boxes.
        most_boxes: largest number of boxes in an image.
        is_readable_enough: no split has more unreadable images than a training skips.
        repeated: pairs of files with the same content in different splits.
        rare: classes with less than a tenth of the median class's amount in ``train``.
        listed: labels to report: all or, if the numbers in masks have no names, those that occur.
        singles: classes that occur in a single mask, with its file.
        anchors: detector with anchors fitted to the training boxes; None if not requested.
    """

    dataset: Dataset
    images: Mapping[Split, tuple[int, ...]]
    amounts: Mapping[Split, tuple[int, ...]]
    void: Mapping[Split, int]
    empty: Mapping[Split, int]
    sides: tuple[Quantiles | None, ...]
    most_boxes: int
    sizes: Sizes | None
    unreadable: Mapping[Path, str]
    is_readable_enough: bool
    repeated: tuple[tuple[Path, Path], ...]
    rare: tuple[str, ...]
    listed: tuple[int, ...]
    singles: tuple[tuple[str, Path], ...]
    anchors: FittedAnchors | None = None
