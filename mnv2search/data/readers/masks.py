"""Reader of masks: a folder of images, and a folder of masks with the same names and the class of each pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mnv2search.data.dataset import Example, Fault, SplitFiles, class_name
from mnv2search.data.image_files import SUFFIXES, image_sizes, opened_image
from mnv2search.data.readers.folders import entries
from mnv2search.errors import DataError
from mnv2search.untrusted import UnsafeFileError, is_regular, read_text

FOLDERS = (("images", "masks"), ("JPEGImages", "SegmentationClass"))
NAMES_FILE = "classes.txt"
MAX_NAMES_BYTES = 2**26


def mask_of(path: Path) -> NDArray[np.uint8] | None:
    """The class of each pixel (H, W), or None for a file that is broken or has colours instead of indices."""
    try:
        with opened_image(path, as_rgb=False) as opened:
            if opened.mode not in ("L", "P", "1"):
                return None
            return np.array(opened if opened.mode != "1" else opened.convert("L"), np.uint8)
    except UnsafeFileError:
        return None


def named_classes(folders: Sequence[Path]) -> tuple[str, ...] | None:
    """The class names in the first ``classes.txt`` of the folders, one per line, or None."""
    for folder in folders:
        file = folder / NAMES_FILE
        if is_regular(file):
            names = [class_name(line.strip()) for line in text_lines(file) if line.strip()]
            if len(names) < 2 or len(set(names)) < len(names):
                raise DataError(
                    f"{file} has {len(names)} names", hint="write two or more different names, one per line"
                )
            return tuple(names)
    return None


def text_lines(file: Path) -> list[str]:
    """The lines of a file of names.

    Raises:
        DataError: the file is not text, or cannot be read.
    """
    try:
        return read_text(file, max_bytes=MAX_NAMES_BYTES).splitlines()
    except UnsafeFileError as error:
        raise DataError(
            f"{file} cannot be used: {error}", hint="write it as UTF-8 text, one name per line"
        ) from error
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}", hint="check its permissions") from error


def read_masks(folder: Path, *, void: int, classes: tuple[str, ...] | None) -> SplitFiles:
    """The examples of a folder with `images` and `masks`, or `JPEGImages` and `SegmentationClass`.

    Without names, classes are named by their indices.

    Raises:
        DataError: the folder does not have such folders.
    """
    if not (pairs := mask_folders(folder)):
        raise DataError(
            f"{folder} has no folders images and masks", hint="lay it out as images/*.jpg and masks/*.png"
        )
    images, masks = (_images_in(inner) for inner in pairs[0])
    faults = _without_counterpart(images, masks, pairs[0][1].name, of="annotation")
    faults += _without_counterpart(masks, images, pairs[0][0].name, of="image")
    sizes = image_sizes(images.values())
    both = [_example(images[stem], masks[stem], sizes[images[stem]]) for stem in sorted(images.keys() & masks.keys())]
    readable = [found for found in both if not isinstance(found, Fault)]
    faults = sorted([*faults, *(found for found in both if isinstance(found, Fault))], key=lambda one: one.file.stem)
    names = classes or _numbers(folder, [numbers for _, numbers in readable], void)
    examples: list[Example] = []
    for example, numbers in readable:
        if (fault := _fault(example, numbers, len(names), void)) is None:
            examples.append(example)
        else:
            faults.append(fault)
    return SplitFiles(names, tuple(examples), tuple(faults), max(1, len({*images, *masks})))


def _without_counterpart(
    files: Mapping[str, Path], others: Mapping[str, Path], folder: str, *, of: Literal["annotation", "image"]
) -> list[Fault]:
    what = f"there is no file of this name in {folder}"
    return [Fault(files[stem], "", what, of=of) for stem in files.keys() - others.keys()]


def mask_folders(folder: Path, names: Sequence[tuple[str, str]] = FOLDERS) -> list[tuple[Path, Path]]:
    """The pairs of an image folder and a mask folder in `folder`."""
    pairs = [(folder / images, folder / masks) for images, masks in names]
    return [pair for pair in pairs if pair[0].is_dir() and pair[1].is_dir()]


def _images_in(folder: Path) -> dict[str, Path]:
    """The image files of a folder by their names without suffix."""
    return {path.stem: path for path in entries(folder) if path.suffix.lower() in SUFFIXES and is_regular(path)}


def _fault(example: Example, numbers: frozenset[int], classes: int, void: int) -> Fault | None:
    """The fault of the class indices in a mask, or None."""
    assert example.mask is not None
    beyond = sorted(number for number in numbers if number >= classes and number != void)
    if beyond:
        what = f"the class id {beyond[0]} is not below {classes}, the number of classes, and not void ({void})"
        return Fault(example.mask, "", what)
    return Fault(example.mask, "", "every pixel is void") if numbers <= {void} else None


def _example(image: Path, mask: Path, size: tuple[int, int] | str) -> tuple[Example, frozenset[int]] | Fault:
    """An image with its mask and the mask's class indices, or the fault of one of the files."""
    numbers = mask_of(mask)
    if isinstance(size, str):
        return Fault(image, "", size, of="image")
    if numbers is None:
        return Fault(mask, "", "it is not a mask of class indices (grey or with a palette)")
    if (numbers.shape[1], numbers.shape[0]) != size:
        what = f"it has {numbers.shape[1]} x {numbers.shape[0]} px, and its image {size[0]} x {size[1]} px"
        return Fault(mask, "", what)
    return Example(image, mask=mask, size=size), frozenset(int(n) for n in np.unique(numbers))


def _numbers(folder: Path, found: Sequence[frozenset[int]], void: int) -> tuple[str, ...]:
    """Names of the class indices in masks, from 0 to the largest."""
    numbers = {number for one in found for number in one} - {void}
    if len(numbers) < 2:
        raise DataError(f"{folder} has masks of {len(numbers)} class", hint="segmentation needs two classes or more")
    return numbered(max(numbers) + 1)


def numbered(count: int) -> tuple[str, ...]:
    """Names for classes without names.

    >>> numbered(2)
    ('class 0', 'class 1')
    """
    return tuple(f"class {number}" for number in range(count))
