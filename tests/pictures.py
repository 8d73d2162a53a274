"""Small sets of pictures that can be told apart, drawn on the spot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"red": (200, 40, 40), "green": (40, 180, 60), "blue": (50, 60, 190)}


def draw_pictures(folder: Path, *, count: int = 20, side: int = 40, seed: int = 0, noise: int = 60) -> Path:
    """A folder of noisy pictures for each colour."""
    drawn = np.random.default_rng(seed)
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            pixels = np.array(colour) + drawn.integers(-noise, noise, (side, side + index % 3, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name / f"{index:03}.png")
    return folder
