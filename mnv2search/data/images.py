"""Datasets of images with classes under their former names."""

from __future__ import annotations

from pathlib import Path

from mnv2search.data.dataset import SPLITS, Dataset, Example, Split
from mnv2search.data.reading import read_dataset

__all__ = ["SPLITS", "Example", "ImageSet", "Split", "read_image_set"]

ImageSet = Dataset


def read_image_set(source: Path, *, seed: int = 0, unpack_to: Path | None = None) -> Dataset:
    """See `read_dataset`."""
    return read_dataset(source, "classification", seed=seed, unpack_to=unpack_to)
