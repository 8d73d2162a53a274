"""Images of a folder as the tensors a network takes, for finding the ranges of its activations."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mnv2search.data.image_files import SUFFIXES, opened_image
from mnv2search.data.readers.folders import files_below
from mnv2search.errors import OptionError
from mnv2search.lowering.types import Floats
from mnv2search.recipe import NORMALIZATIONS
from mnv2search.spec.size import Size
from mnv2search.untrusted import UnsafeFileError

MOST_IMAGES = 128
# Images are scaled until they hold the network's size over this, and the middle is cut out.
# Source: torchvision's and slim's evaluation of 224 px networks at 256 px.
CROP = 0.875
# A picture with a larger aspect ratio is trimmed first.
LONGEST = 16
BILINEAR = Image.Resampling.BILINEAR
BROKEN_SHARE = 0.1
# Folders beside photographs whose images are none.
MASKS = frozenset({"masks", "annotations", "segmentationclass", "segmentationobject"})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """Images for quantisation.

    Attributes:
        images: (N, 3, H, W), normalised.
        broken: files that could not be read.
    """

    images: Floats
    broken: tuple[Path, ...] = ()


def calibration_images(
    source: Path,
    *,
    files: Sequence[Path] = (),
    size: Size,
    normalization: str = "imagenet",
    count: int = MOST_IMAGES,
    seed: int = 0,
    whole: bool = False,
) -> Calibration:
    """Some images of a folder and those below it, drawn at random, cut and normalised as for evaluation.

    Args:
        source: searched for images by their endings where there are no `files`; named in messages.
        files: to draw from.
        size: of the network's input.
        normalization: ``imagenet`` (its mean and deviation), ``tensorflow`` (-1 to 1) or ``unit`` (0 to 1).
        count: at most so many.
        seed: of the draw.
        whole: stretch all of an image to the size, as detectors and segmenters see it, and leave out folders of
            masks.

    Raises:
        OptionError: there are no images, or more than a tenth cannot be read, or there is no such normalisation.
    """
    files = files or _images_below(source, whole=whole)
    if normalization not in NORMALIZATIONS:
        raise OptionError(f"normalization is {normalization!r}", hint=f"use one of {', '.join(NORMALIZATIONS)}")
    chosen = sorted(random.Random(seed).sample(sorted(files), min(count, len(files))))
    mean, deviation = (np.array(v, np.float32).reshape(3, 1, 1) for v in NORMALIZATIONS[normalization])
    read = list(_read(chosen, size, whole=whole))
    found = [(pixels - mean) / deviation for _, pixels in read if pixels is not None]
    broken = tuple(file for file, pixels in read if pixels is None)
    if not found or len(broken) > BROKEN_SHARE * len(chosen):
        raise OptionError(
            f"{len(broken)} of {len(chosen)} images of {source} cannot be read, such as {broken[0]}",
            hint="remove or repair them",
        )
    # stacking keeps the layout of pictures, channels last, which some runtimes read as if it were channels first
    return Calibration(images=np.ascontiguousarray(np.stack(found), np.float32), broken=broken)


def _images_below(folder: Path, *, whole: bool) -> list[Path]:
    if not folder.is_dir():
        raise OptionError(f"{folder} is no folder", hint="give a folder of images")
    files = [f for f in files_below(folder) if f.suffix.lower() in SUFFIXES]
    if whole:
        files = [f for f in files if MASKS.isdisjoint(p.lower() for p in f.relative_to(folder).parts[:-1])]
    if not files:
        raise OptionError(f"{folder} holds no images", hint=f"images end in {', '.join(sorted(SUFFIXES))}")
    return files


def _read(files: list[Path], size: Size, *, whole: bool) -> Iterator[tuple[Path, Floats | None]]:
    """Each file with its pixels, (3, H, W) between 0 and 1; None where it cannot be read."""
    for file in files:
        try:
            with opened_image(file, upright=not whole) as picture:
                scaled = picture.resize((size.width, size.height), BILINEAR) if whole else _middle(picture, size)
        except UnsafeFileError:
            yield file, None
        else:
            yield file, np.asarray(scaled, np.float32).transpose(2, 0, 1) / np.float32(255)


def _middle(picture: Image.Image, size: Size) -> Image.Image:
    """The centre crop of a picture, after scaling it to cover the size divided by `CROP`."""
    wide, high = round(size.width / CROP), round(size.height / CROP)
    if max(picture.size) > LONGEST * min(picture.size):  # scaling it as a whole could fill the memory
        side = LONGEST * min(picture.size)
        left, top = max(0, (picture.width - side) // 2), max(0, (picture.height - side) // 2)
        picture = picture.crop((left, top, min(picture.width, left + side), min(picture.height, top + side)))
    scale = max(wide / picture.width, high / picture.height)
    sides = (max(wide, round(picture.width * scale)), max(high, round(picture.height * scale)))
    scaled = picture.resize(sides, BILINEAR)
    left, top = (sides[0] - size.width) // 2, (sides[1] - size.height) // 2
    return scaled.crop((left, top, left + size.width, top + size.height))
