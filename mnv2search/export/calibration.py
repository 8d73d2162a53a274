"""Calibration images: images of a folder as network inputs, for the ranges of activations."""

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
# Images are scaled to the network's size divided by this, and then centre-cropped.
# Source: torchvision's and slim's evaluation of 224 px networks at 256 px.
CROP = 0.875
# Images with a larger aspect ratio are cropped first.
LONGEST = 16
BILINEAR = Image.Resampling.BILINEAR
BROKEN_SHARE = 0.1
# Folders of data sets whose images are not photographs.
MASKS = frozenset({"masks", "annotations", "segmentationclass", "segmentationobject"})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """Normalised images for quantisation, (N, 3, H, W), and the files that could not be read."""

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
    """Random images of a folder and its subfolders, cropped and normalised as for evaluation.

    At most `count` images are drawn from `files` or, if it is empty, from the image files in `source`. The
    normalization is ``imagenet`` (its mean and deviation), ``tensorflow`` (-1 to 1) or ``unit`` (0 to 1). With
    `whole`, the full image is resized to the size, as for detectors and segmenters, and folders of masks are skipped.

    Raises:
        OptionError: there are no images, more than a tenth cannot be read, or the normalisation is unknown.
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
    # stacking keeps the channels-last layout of images, which some runtimes misread as channels first
    return Calibration(images=np.ascontiguousarray(np.stack(found), np.float32), broken=broken)


def _images_below(folder: Path, *, whole: bool) -> list[Path]:
    if not folder.is_dir():
        raise OptionError(f"{folder} is not a folder", hint="give a folder of images")
    files = [f for f in files_below(folder) if f.suffix.lower() in SUFFIXES]
    if whole:
        files = [f for f in files if MASKS.isdisjoint(p.lower() for p in f.relative_to(folder).parts[:-1])]
    if not files:
        raise OptionError(f"{folder} contains no images", hint=f"images end in {', '.join(sorted(SUFFIXES))}")
    return files


def _read(files: list[Path], size: Size, *, whole: bool) -> Iterator[tuple[Path, Floats | None]]:
    """Each file with its pixels, (3, H, W) from 0 to 1, or None if it cannot be read."""
    for file in files:
        try:
            with opened_image(file, upright=not whole) as picture:
                scaled = picture.resize((size.width, size.height), BILINEAR) if whole else _middle(picture, size)
        except UnsafeFileError:
            yield file, None
        else:
            yield file, np.asarray(scaled, np.float32).transpose(2, 0, 1) / np.float32(255)


def _middle(picture: Image.Image, size: Size) -> Image.Image:
    """The centre crop of an image, after scaling it to cover the size divided by `CROP`."""
    wide, high = round(size.width / CROP), round(size.height / CROP)
    if max(picture.size) > LONGEST * min(picture.size):  # scaling the whole image could exhaust the memory
        side = LONGEST * min(picture.size)
        left, top = max(0, (picture.width - side) // 2), max(0, (picture.height - side) // 2)
        picture = picture.crop((left, top, min(picture.width, left + side), min(picture.height, top + side)))
    scale = max(wide / picture.width, high / picture.height)
    sides = (max(wide, round(picture.width * scale)), max(high, round(picture.height * scale)))
    scaled = picture.resize(sides, BILINEAR)
    left, top = (sides[0] - size.width) // 2, (sides[1] - size.height) // 2
    return scaled.crop((left, top, left + size.width, top + size.height))
