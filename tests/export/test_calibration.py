"""Images for quantisation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mnv2search.data.preprocessing import Preprocessing
from mnv2search.data.transforms import CROP, short_side
from mnv2search.errors import OptionError
from mnv2search.export.calibration import calibration_images
from mnv2search.spec.size import size_of


def square(side: int, normalization: str = "imagenet") -> Preprocessing:
    """The preprocessing of a classifier."""
    return Preprocessing(
        size=size_of(side),
        output="logits",
        output_shape=(2,),
        meaning="",
        normalization=normalization,
        short_px=short_side(side, CROP),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a").mkdir()
    Image.new("RGB", (60, 40), (255, 0, 128)).save(tmp_path / "a" / "wide.png")
    Image.new("L", (40, 60), 255).save(tmp_path / "grey.jpg")
    (tmp_path / "notes.txt").write_text("no image", encoding="utf-8")
    return tmp_path


def test_images_of_any_shape_and_mode_become_square_tensors(folder: Path) -> None:
    images = calibration_images(folder, preprocessing=square(32)).images
    assert images.shape == (2, 3, 32, 32)
    assert images.dtype == np.float32


def test_the_pixels_of_a_channel_lie_together_in_memory(folder: Path) -> None:
    assert calibration_images(folder, preprocessing=square(32)).images.flags.c_contiguous


def test_the_values_are_normalised_by_channel(folder: Path) -> None:
    images = calibration_images(folder / "a", preprocessing=square(32, "tensorflow")).images
    assert images[0, :, 0, 0] == pytest.approx([1.0, -1.0, 128 / 127.5 - 1], abs=1e-6)


def test_a_draw_is_the_same_for_a_seed(folder: Path) -> None:
    first, second = (calibration_images(folder, preprocessing=square(16), count=1, seed=3).images for _ in range(2))
    assert np.array_equal(first, second)


def test_a_few_broken_files_are_named_and_left_out(folder: Path) -> None:
    for number in range(10):
        Image.new("RGB", (20, 20)).save(folder / f"{number}.png")
    (folder / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    found = calibration_images(folder, preprocessing=square(16))
    assert found.broken == (folder / "torn.jpg",)
    assert len(found.images) == 12


def test_many_broken_files_are_refused(folder: Path) -> None:
    (folder / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(OptionError, match=r"1 of 3 images of .* cannot be read"):
        calibration_images(folder, preprocessing=square(16))


@pytest.mark.parametrize(("name", "match"), [("nowhere", "is not a folder"), ("empty", "contains no images")])
def test_a_folder_without_images_is_refused(tmp_path: Path, name: str, match: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(OptionError, match=match):
        calibration_images(tmp_path / name, preprocessing=square(16))
