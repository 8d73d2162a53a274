"""A set of images described: classes, counts, sizes, and what is wrong with it."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from mnv2search.training.images import SPLITS, ImageSet, Split, read_image_set
from mnv2search.training.pixels import UNREADABLE_SHARE
from mnv2search.training.prepared import image_folder

__all__ = ["RARE", "Description", "Sizes", "across", "describe", "looked_at"]

# Of a class among its siblings, below which it is called rare.
RARE = 0.1


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
        unreadable: files that are no sound images.
        is_readable_enough: no part has more of them than a training leaves out.
        repeated: files whose very same content is in another part too: what is learned by heart there is known here.
        rare: classes with less than a tenth of the median class's images in ``train``.
    """

    images: ImageSet
    counts: dict[Split, tuple[int, ...]]
    sizes: Sizes | None
    unreadable: tuple[Path, ...]
    is_readable_enough: bool
    repeated: tuple[tuple[Path, Path], ...]
    rare: tuple[str, ...]


def describe(
    source: Path, *, seed: int = 0, workers: int | None = None, on_progress: Callable[[int], None] = lambda _: None
) -> Description:
    """Read every image of a set and say what is there.

    Args:
        source: see `mnv2search.training.images.read_image_set`.
        seed: of the draw of parts that the set does not have.
        workers: threads; None takes one a processor.
        on_progress: told how many images were read.

    Raises:
        DataError: the set cannot be learned from.
    """
    images = read_image_set(source, seed=seed, unpack_to=image_folder())
    counts: dict[Split, tuple[int, ...]] = {}
    for split in SPLITS:
        found = Counter(e.label for e in images.part(split))
        counts[split] = tuple(found[label] for label in range(len(images.classes)))
    examples = [(split, e) for split in SPLITS for e in images.part(split)]
    shorts: list[int] = []
    unreadable: list[Path] = []
    broken: Counter[Split] = Counter()
    by_content: dict[bytes, list[tuple[Split, Path]]] = defaultdict(list)
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        looked = pool.map(lambda item: looked_at(item[1].path), examples)
        for done, ((split, example), (short, digest)) in enumerate(zip(examples, looked, strict=True), start=1):
            if short is None:
                unreadable.append(example.path)
                broken[split] += 1
            else:
                shorts.append(short)
                by_content[digest].append((split, example.path))
            on_progress(done)
    repeated = [pair for same in by_content.values() if (pair := across(same)) is not None]
    typical = median(counts["train"])
    return Description(
        images=images,
        counts=counts,
        sizes=Sizes(least=min(shorts), median=int(median(shorts)), most=max(shorts)) if shorts else None,
        unreadable=tuple(unreadable),
        is_readable_enough=all(broken[split] <= UNREADABLE_SHARE * len(images.part(split)) for split in SPLITS),
        repeated=tuple(repeated),
        rare=tuple(n for n, c in zip(images.classes, counts["train"], strict=True) if c < RARE * typical),
    )


def across(same: Sequence[tuple[Split, Path]]) -> tuple[Path, Path] | None:
    """Two files of the same content in different parts."""
    split, path = same[0]
    other = next((p for s, p in same[1:] if s != split), None)
    return None if other is None else (path, other)


def looked_at(path: Path) -> tuple[int | None, bytes]:
    """Short side of an image, or None where it cannot be read, and the hash of the file."""
    from PIL import Image  # late: only images need it

    try:
        content = path.read_bytes()
        with Image.open(path) as opened:
            opened.load()
            return min(opened.size), hashlib.blake2b(content, digest_size=16).digest()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None, b""
