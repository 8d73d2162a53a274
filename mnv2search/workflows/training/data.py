"""A set of images described: classes, counts, sizes, and what is wrong with it."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

from mnv2search.data.image_files import MAX_FILE_BYTES, opened_image
from mnv2search.data.images import SPLITS, Split, read_image_set
from mnv2search.data.pixels import is_readable_enough
from mnv2search.data.prepare import image_folder
from mnv2search.results.data import Description, Sizes
from mnv2search.untrusted import UnsafeFileError, read_bytes

__all__ = ["RARE", "across", "describe", "looked_at"]

# Of a class among its siblings, below which it is called rare.
RARE = 0.1


def describe(
    source: Path, *, seed: int = 0, workers: int | None = None, on_progress: Callable[[int], None] = lambda _: None
) -> Description:
    """Read every image of a set and say what is there.

    Args:
        source: see `mnv2search.data.images.read_image_set`.
        seed: of the draw of parts that the set does not have.
        workers: threads; None takes one a processor.
        on_progress: told how many images were read.

    Raises:
        DataError: the set cannot be learned from.
    """
    images = read_image_set(source, seed=seed, unpack_to=image_folder())
    counts: dict[Split, tuple[int, ...]] = {}
    for split in SPLITS:
        shown = Counter(e.label for e in images.part(split))
        counts[split] = tuple(shown[label] for label in range(len(images.classes)))
    examples = [(split, e) for split in SPLITS for e in images.part(split)]
    shorts: list[int] = []
    unreadable: dict[Path, str] = {}
    broken: Counter[Split] = Counter()
    by_content: dict[bytes, list[tuple[Split, Path]]] = defaultdict(list)
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        looked = pool.map(lambda item: looked_at(item[1].path), examples)
        for done, ((split, example), found) in enumerate(zip(examples, looked, strict=True), start=1):
            if isinstance(found, str):
                unreadable[example.path] = found
                broken[split] += 1
            else:
                shorts.append(found[0])
                by_content[found[1]].append((split, example.path))
            on_progress(done)
    repeated = [pair for same in by_content.values() if (pair := across(same)) is not None]
    typical = median(counts["train"])
    return Description(
        images=images,
        counts=counts,
        sizes=Sizes(least=min(shorts), median=int(median(shorts)), most=max(shorts)) if shorts else None,
        unreadable=unreadable,
        is_readable_enough=all(is_readable_enough(broken[split], of=len(images.part(split))) for split in SPLITS),
        repeated=tuple(repeated),
        rare=tuple(n for n, c in zip(images.classes, counts["train"], strict=True) if c < RARE * typical),
    )


def across(same: Sequence[tuple[Split, Path]]) -> tuple[Path, Path] | None:
    """Two files of the same content in different parts."""
    split, path = same[0]
    other = next((p for s, p in same[1:] if s != split), None)
    return None if other is None else (path, other)


def looked_at(path: Path) -> tuple[int, bytes] | str:
    """Short side of an image and the hash of its file, or the reason why it cannot be read."""
    try:
        content = read_bytes(path, max_bytes=MAX_FILE_BYTES)
        with opened_image(content, as_rgb=False) as opened:
            return min(opened.size), hashlib.blake2b(content, digest_size=16).digest()
    except UnsafeFileError as error:
        return str(error)
    except OSError as error:
        return error.strerror or str(error)
