"""A cache of decoded and scaled images on disk, as plain bytes that are read as fast as memory."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mnv2search.data.dataset import Example
from mnv2search.data.image_files import opened_image
from mnv2search.errors import DataError
from mnv2search.untrusted import UnsafeFileError

Bytes: TypeAlias = NDArray[np.uint8]
FORMAT = 1
# Images are cropped to this aspect ratio, so that a panorama does not fill the disk.
LONGEST = 2.0
# Maximum share of unreadable images of a split; one unreadable image is always allowed.
UNREADABLE_SHARE = 0.02
MOST_BYTES = 20e9
DONE = "index.json"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pixels:
    """Decoded images of one split, with labels (N,) and shapes (N, 2) as height and width."""

    short_px: int
    labels: NDArray[np.int64]
    shapes: NDArray[np.int64]
    unreadable: tuple[Path, ...]
    _offsets: NDArray[np.int64]
    _values: Bytes

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, index: int) -> Bytes:
        """One image, (H, W, 3), a view of the file."""
        height, width = self.shapes[index]
        start = self._offsets[index]
        return self._values[start : start + 3 * height * width].reshape(height, width, 3)


def decoded(
    examples: Sequence[Example],
    *,
    short_px: int,
    folder: Path,
    most_bytes: float = MOST_BYTES,
    unreadable_share: float = UNREADABLE_SHARE,
    part: str = "",
    on_progress: Callable[[int], None] = lambda _: None,
) -> Pixels:
    """The images, scaled to a short side, decoded once and then read from the cache.

    If the cache in `folder` is full, its least recently used entries are removed. `part` names the split in errors,
    and `on_progress` is called with the number of decoded images.

    Raises:
        DataError: too many images are broken, or they exceed the size of the cache.
    """
    target = folder / _key(examples, short_px)
    if not (target / DONE).exists():
        expected = len(examples) * 3 * short_px**2 * 1.4
        if expected > most_bytes:
            raise DataError(
                f"{len(examples)} images of {short_px} px take {expected / 1e9:.1f} GB, more than the "
                f"{most_bytes / 1e9:.1f} GB of the cache",
                hint="allow more, or train at a lower resolution",
            )
        _make_room(folder, most_bytes - expected)
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            _write(target, examples, _each(pool, examples, short_px), part, unreadable_share, on_progress)
    found = json.loads((target / DONE).read_text(encoding="utf-8"))
    os.utime(target)
    # a plain array over the map: indexing a memmap costs ten times as much
    values = np.asarray(np.memmap(target / "values.u8", np.uint8, "c")) if found["kept"] else np.empty(0, np.uint8)
    index = np.load(target / "index.npy", allow_pickle=False)
    return Pixels(
        short_px=short_px,
        labels=index[:, 0],
        shapes=index[:, 1:3],
        unreadable=tuple(Path(p) for p in found["unreadable"]),
        _offsets=index[:, 3],
        _values=values,
    )


def is_readable_enough(broken: int, *, of: int, share: float = UNREADABLE_SHARE) -> bool:
    """Whether few enough images of a part are broken to skip them.

    >>> is_readable_enough(1, of=10), is_readable_enough(2, of=10), is_readable_enough(2, of=100)
    (True, False, True)
    """
    return broken <= max(1, share * of)


def _key(examples: Sequence[Example], short_px: int) -> str:
    found = hashlib.sha256(f"{FORMAT} {short_px}".encode())
    for example in examples:
        stat = example.path.stat()
        key = f"{example.path.resolve()}\0{example.label}\0{stat.st_size}\0{stat.st_mtime_ns}\0"
        found.update(os.fsencode(key))
    return f"pixels-{found.hexdigest()[:20]}"


def _write(
    target: Path,
    examples: Sequence[Example],
    images: Iterable[tuple[Example, Bytes | None]],
    split: str,
    unreadable_share: float,
    on_progress: Callable[[int], None],
) -> None:
    """Write an entry of the cache to a temporary folder, and rename it."""
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    count = len(examples)
    try:
        part.mkdir(parents=True, exist_ok=True)
        rows, broken = _write_values(part / "values.u8", images, count, on_progress)
        if not is_readable_enough(len(broken), of=count, share=unreadable_share) or not rows:
            named = f" of {split}" if split else ""
            raise DataError(
                f"{len(broken)} of {count} images{named} cannot be read, such as {broken[0]}",
                hint=f"remove or repair them; one image, or {100 * unreadable_share:.0f} %, may be broken",
            )
        np.save(part / "index.npy", np.array(rows, np.int64).reshape(-1, 4))
        summary = {"kept": len(rows), "unreadable": [str(path) for path in broken]}
        (part / DONE).write_text(json.dumps(summary), encoding="utf-8")
        part.rename(target)
    except OSError as error:
        if not (target / DONE).exists():  # another process may have been faster
            raise DataError(
                f"decoded images cannot be kept in {target.parent}: {error.strerror or error}",
                hint="make room, or choose another folder by MNV2SEARCH_CACHE",
            ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write_values(
    path: Path, images: Iterable[tuple[Example, Bytes | None]], count: int, on_progress: Callable[[int], None]
) -> tuple[list[tuple[int, int, int, int]], list[Path]]:
    """Write the pixels to a file; returns (label, height, width, offset) of each image, and the broken files."""
    rows: list[tuple[int, int, int, int]] = []
    broken: list[Path] = []
    offset = 0
    with open(path, "wb") as file:
        for done, (example, pixels) in enumerate(images, start=1):
            if pixels is None:
                broken.append(example.path)
            else:
                rows.append((example.label, pixels.shape[0], pixels.shape[1], offset))
                offset += file.write(pixels.tobytes())
            if done % 64 == 0 or done == count:
                on_progress(done)
    return rows, broken


def _each(
    pool: ThreadPoolExecutor, examples: Sequence[Example], short_px: int
) -> Iterable[tuple[Example, Bytes | None]]:
    """Every example with its pixels, in order, with at most a few hundred in memory."""
    for start in range(0, len(examples), 256):
        some = examples[start : start + 256]
        yield from zip(some, pool.map(lambda e: read_pixels(e.path, short_px), some), strict=True)


def read_pixels(path: Path, short_px: int) -> Bytes | None:
    """One image, (H, W, 3), scaled to a short side; None if it cannot be read."""
    try:
        with opened_image(path, draft_px=short_px, upright=True) as picture:
            return np.asarray(scaled(picture, short_px), np.uint8)
    except UnsafeFileError:
        return None


def scaled(picture: Image.Image, short_px: int) -> Image.Image:
    """An image scaled to a short side, after cropping its long side to at most `LONGEST` times the short side."""
    width, height = picture.size
    if max(width, height) > LONGEST * min(width, height):
        wide, high = min(width, int(LONGEST * height)), min(height, int(LONGEST * width))
        left, top = (width - wide) // 2, (height - high) // 2
        picture = picture.crop((left, top, left + wide, top + high))
    scale = short_px / min(picture.size)
    sides = (max(short_px, round(picture.width * scale)), max(short_px, round(picture.height * scale)))
    return picture.resize(sides, Image.Resampling.BICUBIC)


def _make_room(folder: Path, most_bytes: float) -> None:
    """Remove the least recently used entries of the cache until the rest fit."""
    kept = sorted(folder.glob("pixels-*"), key=lambda p: p.stat().st_mtime, reverse=True)
    total = 0.0
    for path in kept:
        total += sum(file.stat().st_size for file in path.iterdir())
        if total > most_bytes and not path.name.endswith(".part"):
            shutil.rmtree(path, ignore_errors=True)
