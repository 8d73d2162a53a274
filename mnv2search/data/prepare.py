"""Preparation of a classification dataset: splits decoded at the size of a network."""

from __future__ import annotations

import contextlib
import math
import statistics
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

from mnv2search.data.dataset import Dataset, Example, Split
from mnv2search.data.image_files import checked_size
from mnv2search.data.pixels import Pixels, decoded
from mnv2search.data.reading import image_folder
from mnv2search.data.transforms import CROP, short_side
from mnv2search.recipe import Recipe
from mnv2search.untrusted import UnsafeFileError

# Number of images sampled for the typical image size of a dataset.
LOOKED_AT = 64
# Images up to the size of the network's input are shifted by this share of the size, instead of cropped.
SHIFT = 1 / 8


E = TypeVar("E", bound=Sized)
"""The examples of one split, ready for a network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts(Generic[E]):
    """Splits prepared for a network, the recipe adapted to small images, and the unreadable files."""

    examples: Mapping[Split, E]
    recipe: Recipe
    unreadable: tuple[Path, ...] = ()


def prepare(
    images: Dataset,
    *,
    side: int,
    recipe: Recipe,
    splits: Sequence[Split],
    on_progress: Callable[[int], None] = lambda _: None,
) -> Parts[Pixels]:
    """Decode splits for a network with an input of `side` px.

    `on_progress` is called with the number of decoded images of a split.

    Raises:
        DataError: too many images, or all images of a class in a split, are broken; or they exceed the cache.
    """
    small = _short_px(images.train) <= side
    short_px = short_side(side, 1.0 if small else CROP)
    if small and not recipe.shift_px:
        recipe = replace(recipe, shift_px=max(1, round(side * SHIFT)))
    folder = image_folder()
    parts = {
        split: decoded(images.part(split), short_px=short_px, folder=folder, part=split, on_progress=on_progress)
        for split in splits
    }
    unreadable = tuple(path for part in parts.values() for path in part.unreadable)
    images.without(unreadable)  # refuses a split that lost the last image of a class
    return Parts(examples=parts, recipe=recipe, unreadable=unreadable)


def _short_px(examples: Sequence[Example]) -> float:
    """Median short side of a sample of the images; infinite if none can be read."""
    found = []
    for example in examples[:: max(1, len(examples) // LOOKED_AT)]:
        with contextlib.suppress(UnsafeFileError):
            found.append(min(checked_size(example.path)))
    return statistics.median(found) if found else math.inf
