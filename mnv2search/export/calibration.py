"""Calibration images: images of a folder as network inputs, for the ranges of activations."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mnv2search.data.image_files import SUFFIXES, opened_image
from mnv2search.data.preprocessing import Preprocessing
from mnv2search.data.readers.folders import files_below
from mnv2search.errors import OptionError
from mnv2search.lowering.types import Floats
from mnv2search.recipe import NORMALIZATIONS
from mnv2search.untrusted import UnsafeFileError

MOST_IMAGES = 128
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
    preprocessing: Preprocessing,
    count: int = MOST_IMAGES,
    seed: int = 0,
) -> Calibration:
    """Random images of a folder and its subfolders, preprocessed as for evaluation.

    At most `count` images are drawn from `files` or, if it is empty, from the image files in `source`; for detectors
    and segmenters, folders of masks are skipped. `preprocessing` has a normalization.

    Raises:
        OptionError: there are no images, or more than a tenth cannot be read.
    """
    assert preprocessing.normalization is not None
    files = files or _images_below(source, whole=preprocessing.is_whole)
    chosen = sorted(random.Random(seed).sample(sorted(files), min(count, len(files))))
    mean, deviation = (np.array(v, np.float32).reshape(3, 1, 1) for v in NORMALIZATIONS[preprocessing.normalization])
    read = list(_read(chosen, preprocessing))
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


def _read(files: list[Path], preprocessing: Preprocessing) -> Iterator[tuple[Path, Floats | None]]:
    """Each file with its pixels, (3, H, W) from 0 to 1, or None if it cannot be read."""
    for file in files:
        try:
            with opened_image(file, draft_px=preprocessing.short_px, upright=preprocessing.is_upright) as picture:
                fitted = preprocessing.fitted(picture)
        except UnsafeFileError:
            yield file, None
        else:
            yield file, np.asarray(fitted, np.float32).transpose(2, 0, 1) / np.float32(255)
