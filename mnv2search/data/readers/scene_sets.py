"""Readers of datasets under their former names."""

from __future__ import annotations

from pathlib import Path

from mnv2search.data.dataset import Dataset
from mnv2search.data.reading import read_dataset, task_of_layout

__all__ = ["read_scene_set", "task_in"]

task_in = task_of_layout


def read_scene_set(
    source: Path, task: str, *, seed: int = 0, unpack_to: Path | None = None, void: int = 255
) -> Dataset:
    """See `read_dataset`."""
    return read_dataset(source, task, seed=seed, unpack_to=unpack_to, void=void)
