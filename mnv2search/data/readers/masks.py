"""Reader of masks: a folder of images and one of masks of the same names, each pixel the number of its class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mnv2search.data.dataset import Example, Fault, SplitFiles, class_name
from mnv2search.data.image_files import SUFFIXES, image_sizes, opened_image
from mnv2search.data.readers.folders import entries
from mnv2search.errors import DataError
from mnv2search.untrusted import UnsafeFileError, is_regular, read_text

__all__ = ["FOLDERS", "mask_of", "named_classes", "numbered", "read_masks", "text_lines"]

FOLDERS = (("images", "masks"), ("JPEGImages", "SegmentationClass"))
NAMES_FILE = "classes.txt"
MAX_NAMES_BYTES = 2**26


def mask_of(path: Path) -> NDArray[np.uint8] | None:
    """(H, W) the classes' numbers, or None where it is no mask: not sound, or with colours in place of numbers."""
    try:
        with opened_image(path, as_rgb=False) as opened:
            if opened.mode not in ("L", "P", "1"):
                return None
            return np.array(opened if opened.mode != "1" else opened.convert("L"), np.uint8)
    except UnsafeFileError:
        return None


def named_classes(folders: Sequence[Path]) -> tuple[str, ...] | None:
    """The names of a file ``classes.txt`` in one of the folders, one a line, or None where there is none."""
    for folder in folders:
        file = folder / NAMES_FILE
        if is_regular(file):
            names = [class_name(line.strip()) for line in text_lines(file) if line.strip()]
            if len(names) < 2 or len(set(names)) < len(names):
                raise DataError(
                    f"{file} has {len(names)} names", hint="write two names or more, each once, one a line"
                )
            return tuple(names)
    return None


def text_lines(file: Path) -> list[str]:
    """The lines of a file of names.

    Raises:
        DataError: it is not text, or cannot be read.
    """
    try:
        return read_text(file, max_bytes=MAX_NAMES_BYTES).splitlines()
    except UnsafeFileError as error:
        raise DataError(
            f"{file} cannot be used: {error}", hint="write it as UTF-8 text, one name per line"
        ) from error
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}", hint="check its permissions") from error


def read_masks(
    folder: Path, *, void: int, classes: tuple[str, ...] | None, stems: Sequence[str] | None = None
) -> SplitFiles:
    """The scenes of a folder that holds `images` and `masks`, or `JPEGImages` and `SegmentationClass`.

    Args:
        folder: with both.
        void: number of the pixels that count for nothing.
        classes: names that are known; None calls them by the numbers that the masks have.
        stems: names without ending; None takes all masks.

    Raises:
        DataError: there are no such folders.
    """
    pair = next(
        ((folder / a, folder / b) for a, b in FOLDERS if (folder / a).is_dir() and (folder / b).is_dir()), None
    )
    if pair is None:
        raise DataError(
            f"{folder} has no folders images and masks", hint="lay it out as images/*.jpg and masks/*.png"
        )
    faults: list[Fault] = []
    images, masks = (
        {path.stem: path for path in entries(inner) if path.suffix.lower() in SUFFIXES and is_regular(path)}
        for inner in pair
    )
    wanted = sorted({*images, *masks}) if stems is None else list(stems)
    sizes = image_sizes(images.values())
    sound: list[tuple[Example, frozenset[int]]] = []
    for stem in wanted:
        found = _pair(images.get(stem), masks.get(stem), pair, stem, sizes, faults)
        if found is not None:
            sound.append(found)
    names = classes or _numbers(folder, [numbers for _, numbers in sound], void)
    scenes: list[Example] = []
    for scene, numbers in sound:
        beyond = sorted(number for number in numbers if number >= len(names) and number != void)
        if beyond and scene.mask is not None:
            what = f"the class id {beyond[0]} is not below {len(names)}, the number of classes, and not void ({void})"
            faults.append(Fault(scene.mask, "", what))
        elif numbers <= {void} and scene.mask is not None:
            faults.append(Fault(scene.mask, "", "every pixel is void"))
        else:
            scenes.append(scene)
    return SplitFiles(names, tuple(scenes), tuple(faults), max(1, len(wanted)))


def _pair(
    image: Path | None,
    mask: Path | None,
    folders: tuple[Path, Path],
    stem: str,
    sizes: Mapping[Path | None, tuple[int, int] | str],
    faults: list[Fault],
) -> tuple[Example, frozenset[int]] | None:
    """An image with its mask and the numbers in it, or a note of why not."""
    if image is None or mask is None:
        there, lacking = (mask, folders[0]) if image is None else (image, folders[1])
        what = f"there is no file of this name in {lacking.name}"
        faults.append(Fault(there or folders[0] / stem, "", what, of="image" if image is None else "annotation"))
        return None
    size, numbers = sizes[image], mask_of(mask)
    if isinstance(size, str):
        faults.append(Fault(image, "", size, of="image"))
    elif numbers is None:
        faults.append(Fault(mask, "", "it is no mask of numbers (grey or with a palette)"))
    elif (numbers.shape[1], numbers.shape[0]) != size:
        what = f"it has {numbers.shape[1]} x {numbers.shape[0]} px, and its image {size[0]} x {size[1]} px"
        faults.append(Fault(mask, "", what))
    else:
        return Example(image, mask=mask, size=size), frozenset(int(n) for n in np.unique(numbers))
    return None


def _numbers(folder: Path, found: Sequence[frozenset[int]], void: int) -> tuple[str, ...]:
    """Names for the numbers of the masks, from 0 to the largest."""
    numbers = {number for one in found for number in one} - {void}
    if len(numbers) < 2:
        raise DataError(f"{folder} has masks of {len(numbers)} class", hint="segmentation needs two classes or more")
    return numbered(max(numbers) + 1)


def numbered(count: int) -> tuple[str, ...]:
    """Names of so many classes that have none.

    >>> numbered(2)
    ('class 0', 'class 1')
    """
    return tuple(f"class {number}" for number in range(count))
