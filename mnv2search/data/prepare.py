"""Images made ready for a network: read, decoded at the size it needs, and cut as their own size allows."""

from __future__ import annotations

import contextlib
import math
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

from mnv2search.data.augmentation import Augmentation
from mnv2search.data.image_batches import CROP
from mnv2search.data.image_files import checked_size
from mnv2search.data.images import Example, ImageSet, Split
from mnv2search.data.pixels import MOST_BYTES, Pixels, decoded
from mnv2search.untrusted import UnsafeFileError

__all__ = ["Prepared", "image_folder", "prepare"]

Settings = TypeVar("Settings", bound=Augmentation)
# Number of images sampled to find the typical image size of a dataset.
LOOKED_AT = 64
# Where images are no larger than the network's input, they are shifted by this share of it and not cut.
SHIFT = 1 / 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared(Generic[Settings]):
    """Decoded parts of a set, and the recipe as it suits them.

    Attributes:
        parts: by name.
        recipe: shifted in place of cut, where the images are small.
    """

    parts: Mapping[Split, Pixels]
    recipe: Settings

    @property
    def unreadable(self) -> tuple[Path, ...]:
        """Images that are left out."""
        return tuple(path for part in self.parts.values() for path in part.unreadable)


def prepare(
    images: ImageSet,
    *,
    side: int,
    recipe: Settings,
    splits: Sequence[Split],
    most_bytes: float = MOST_BYTES,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Prepared[Settings]:
    """Decode some parts of a set for a network.

    Args:
        images: the set.
        side: of the network's input in px.
        recipe: of the training.
        splits: parts to decode.
        most_bytes: that decoded images may take on the disk.
        on_progress: told how many images of a part are decoded.

    Raises:
        DataError: too many images are broken, or all of a class in a part, or they take too much room.
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
    images.without(prepared.unreadable)  # refuses a part that lost the last image of a class
    return prepared


def image_folder() -> Path:
    """Where unpacked and decoded images are kept: beside the latencies in the user's cache folder."""
    if chosen := os.environ.get("MNV2SEARCH_CACHE"):
        return Path(chosen) / "images"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "mnv2search" / "images"


def _short_px(examples: Sequence[Example]) -> float:
    """Median short side of some of the images; infinite where none can be read."""
    found = []
    for example in examples[:: max(1, len(examples) // LOOKED_AT)]:
        with contextlib.suppress(UnsafeFileError):
            found.append(min(checked_size(example.path)))
    return statistics.median(found) if found else math.inf
