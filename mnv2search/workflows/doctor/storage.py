"""Where caches, weights and datasets are, and how large they are."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from mnv2search.caches import cache_folder, hub_datasets, hub_models, torch_checkpoints
from mnv2search.model.weights.places import weights_files
from mnv2search.results.diagnosis import Disk, Place

# Time limit for adding up the sizes of all files.
PATIENCE_S = 1.0


def caches(
    environment: Mapping[str, str], working: Path, *, clock: Callable[[], float] = time.monotonic
) -> tuple[Place, ...]:
    """The folders of caches, and of runs in the working folder, with their sizes."""
    ours, ends_s = cache_folder(environment), clock() + PATIENCE_S
    folders = {
        "measured latencies": ours / "latency",
        "decoded images": ours / "images",
        "torch hub": torch_checkpoints(environment),
        "Hugging Face models": hub_models(environment),
        "Hugging Face datasets": hub_datasets(environment),
        "runs": working / "results",
    }
    return tuple(_place(what, folder, lambda: clock() < ends_s) for what, folder in folders.items())


def weights() -> tuple[Place, ...]:
    """The files on this machine that may contain published weights."""
    return tuple(
        Place(contents=f"{file.name}, {file.place}", path=str(file.path), size_bytes=file.size_bytes)
        for file in weights_files()
    )


def disks(folders: tuple[Path, ...]) -> tuple[Disk, ...]:
    """The free space for each folder, which may not exist yet; folders on the same disk are listed once."""
    found: dict[int, Disk] = {}
    for folder in folders:
        existing = next((path for path in (folder, *folder.absolute().parents) if path.is_dir()), None)
        try:
            if existing is not None:
                free_bytes = shutil.disk_usage(existing).free
                found.setdefault(existing.stat().st_dev, Disk(path=str(folder), free_bytes=free_bytes))
        except OSError:
            continue
    return tuple(found.values())


def is_writable(folder: Path) -> bool:
    """Whether files can be written into a folder, which may not exist yet."""
    existing = next((path for path in (folder, *folder.absolute().parents) if path.exists()), None)
    return existing is not None and existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)


def _place(contents: str, folder: Path, is_time_left: Callable[[], bool]) -> Place:
    if not folder.is_dir():
        return Place(contents=contents, path=str(folder), size_bytes=None)
    total, complete = 0, True
    for size_bytes in _sizes(folder):
        total += size_bytes
        if not is_time_left():
            complete = False
            break
    return Place(contents=contents, path=str(folder), size_bytes=total, is_complete=complete)


def _sizes(folder: Path) -> Iterator[int]:
    """Yield the size of every file below a folder; links are not followed, and unreadable folders are skipped."""
    folders = [str(folder)]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        yield entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue
