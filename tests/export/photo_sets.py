"""Small sets of photographs with the folders train, val and test."""

from __future__ import annotations

import os
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SHARED = Path(os.environ.get("MNV2SEARCH_SHARED", Path(__file__).parents[3] / "shared" / "data"))
COLOURS = {"warm": (150, 110, 90), "cold": (95, 110, 145), "green": (100, 140, 100)}
SPREAD = 35
ROTATED = Image.Exif()
ROTATED[0x0112] = 6  # orientation: turn by 90 degrees


def drawn(folder: Path, *, train: int, test: int) -> Path:
    """Images of noisy colours: large, rotated and long JPEG files, and PNG files of every mode."""
    rng = np.random.default_rng(0)
    for part, count in (("train", train), ("val", test), ("test", test)):
        for name, colour in COLOURS.items():
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                _draw(folder / part / name / f"{number:03}", number, colour, rng)
    return folder


def _draw(path: Path, number: int, colour: tuple[int, int, int], rng: np.random.Generator) -> None:
    height, width = rng.integers(40, 700, 2) if number % 5 else (60, 900)
    coarse = rng.normal(colour, SPREAD, (6, 6, 3)) + rng.normal(0, SPREAD, 3)
    image = Image.fromarray(coarse.clip(0, 255).astype(np.uint8)).resize((int(width), int(height)))
    kind = number % 4
    if kind == 0:
        image.save(path.with_suffix(".jpg"))
    elif kind == 1:
        image.save(path.with_suffix(".jpg"), exif=ROTATED)
    elif kind == 2:
        image.convert("P").save(path.with_suffix(".png"))
    else:
        image.convert("RGBA").save(path.with_suffix(".png"))


def unpacked(name: str, folder: Path, *, classes: tuple[str, ...], train: int, test: int) -> Path:
    """The first images of some classes of a tar of the shared data."""
    source = SHARED / "sets" / name
    if not source.exists():
        pytest.skip(f"the shared data have no sets/{name}; set MNV2SEARCH_SHARED to the folder that has")
    left = Counter({(part, one): count for part, count in (("train", train), ("test", test)) for one in classes})
    root = ""
    with tarfile.open(source) as tar:
        for member in tar:
            root, *parts = member.name.split("/")
            key = tuple(parts[:2])
            if member.isfile() and left[key] > 0:  # type: ignore[index]
                left[key] -= 1  # type: ignore[index]
                tar.extract(member, folder, filter="data")
            if not any(left.values()):
                break
    return folder / root
