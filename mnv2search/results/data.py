"""Descriptions of data sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mnv2search.data.images import ImageSet, Split
    from mnv2search.data.scenes import SceneSet

__all__ = ["Description", "Quantiles", "SceneDescription", "Sizes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Short sides of images in px."""

    least: int
    median: int
    most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What there is to know of a set before anything is trained on it.

    Attributes:
        images: the set, with the parts that a training would use.
        counts: images of each class in each part, by part, in the order of the classes.
        sizes: of the readable images.
        unreadable: files that cannot be read as images, each with the reason.
        is_readable_enough: no part has more of them than a training skips.
        repeated: files whose very same content is in another part too: what is learned by heart there is known here.
        rare: classes with less than a tenth of the median class's images in ``train``.
    """

    images: ImageSet
    counts: dict[Split, tuple[int, ...]]
    sizes: Sizes | None
    unreadable: Mapping[Path, str]
    is_readable_enough: bool
    repeated: tuple[tuple[Path, Path], ...]
    rare: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantiles:
    """Sides of boxes over the image's: the root of the share of the image that a box covers, 0 to 1."""

    low: float
    median: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneDescription:
    """What there is to know of a set of scenes before anything is trained on it.

    Attributes:
        scenes: the set, with the parts that a training would use, and the annotations that are wrong.
        seed: of the draw of parts that the set does not have.
        images: that show each class in each part, by part, in the order of the classes.
        amounts: boxes of each class in each part, or pixels of it.
        void: pixels of each part that count for nothing; 0 for boxes.
        empty: images of each part without any object.
        sides: 5 %, median and 95 % of the sides of the boxes of each class in ``train``; None where it has none, and
            for masks.
        most_boxes: of one image.
        sizes: of the readable images.
        repeated: files whose very same content is in another part too.
        rare: classes with less than a tenth of the median class's boxes or pixels in ``train``.
        listed: labels that are told of: all, but of masks whose numbers have no names those that occur.
        singles: classes of masks that occur in one of them only, with its file.
    """

    scenes: SceneSet
    seed: int
    images: dict[Split, tuple[int, ...]]
    amounts: dict[Split, tuple[int, ...]]
    void: dict[Split, int]
    empty: dict[Split, int]
    sides: tuple[Quantiles | None, ...]
    most_boxes: int
    sizes: Sizes | None
    repeated: tuple[tuple[Path, Path], ...]
    rare: tuple[str, ...]
    listed: tuple[int, ...]
    singles: tuple[tuple[str, Path], ...]
