"""Splits of a classification dataset, decoded at the size that a network needs."""

from __future__ import annotations

import contextlib
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mnv2search.data.dataset import Dataset, Example, Split
from mnv2search.data.image_files import checked_size
from mnv2search.data.pixels import MOST_BYTES, Pixels, decoded
from mnv2search.data.reading import image_folder
from mnv2search.data.transforms import CROP
from mnv2search.recipe import Recipe
from mnv2search.untrusted import UnsafeFileError

__all__ = ["Prepared", "image_folder", "prepare"]

# Number of images sampled to find the typical image size of a dataset.
LOOKED_AT = 64
# Images that are no larger than the network's input are shifted by this share of it instead of cropped.
SHIFT = 1 / 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Decoded splits, and the recipe adapted to them: with shifts instead of crops for small images."""

    parts: Mapping[Split, Pixels]
    recipe: Recipe

    @property
    def unreadable(self) -> tuple[Path, ...]:
        """Files that are left out."""
        return tuple(path for part in self.parts.values() for path in part.unreadable)


def prepare(
    images: Dataset,
    *,
    side: int,
    recipe: Recipe,
    splits: Sequence[Split],
    most_bytes: float = MOST_BYTES,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Prepared:
    """Decode some splits for a network whose input has a side in px.

    `most_bytes` limits the decoded images on the disk; `on_progress` is called with the number of decoded images of a
    split.

    Raises:
        DataError: too many images, or all of a class in a split, are broken, or they take too much room.
    """
    small = _short_px(images.train) <= side
    short_px = side if small else math.ceil(side / CROP)
    if small and not recipe.shift_px:
        recipe = replace(recipe, shift_px=max(1, round(side * SHIFT)))
    folder = image_folder()
    parts = {
        split: decoded(
            images.part(split),
            short_px=short_px,
            folder=folder,
            most_bytes=most_bytes,
            part=split,
            on_progress=on_progress,
        )
        for split in splits
    }
    prepared = Prepared(parts=parts, recipe=recipe)
    images.without(prepared.unreadable)  # refuses a split that lost the last image of a class
    return prepared


def _short_px(examples: Sequence[Example]) -> float:
    """Median short side of some of the images; infinite where none can be read."""
    found = []
    for example in examples[:: max(1, len(examples) // LOOKED_AT)]:
        with contextlib.suppress(UnsafeFileError):
            found.append(min(checked_size(example.path)))
    return statistics.median(found) if found else math.inf
