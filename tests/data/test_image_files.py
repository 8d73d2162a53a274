"""Images from outside: what is opened, what is refused, and that nothing else happens."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import draw_pictures
from PIL import Image

import mnv2search
from mnv2search.data.image_files import MAX_PIXELS, checked_size, opened_image
from mnv2search.data.pixels import read_pixels
from mnv2search.data.preprocessing import Preprocessing
from mnv2search.data.readers.masks import mask_of
from mnv2search.export.calibration import calibration_images
from mnv2search.spec.size import Size
from mnv2search.untrusted import UnsafeFileError
from mnv2search.workflows.training.describe_data import short_side_and_hash

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from fuzz_data import png_of, zeros

Run = Callable[..., Any]
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8))
OTHER_FORMATS = ("AVIF", "DDS", "EPS", "GIF", "TIFF", "ICO", "PPM", "TGA", "JPEG2000", "SGI")


def encoded(kind: str, picture: Image.Image = PICTURE, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def is_refused_everywhere(path: Path) -> bool:
    """By all that read one image, without an error of another kind."""
    return isinstance(short_side_and_hash(path), str) and mask_of(path) is None and read_pixels(path, 16) is None


@pytest.mark.parametrize("kind", OTHER_FORMATS)
def test_other_formats_are_refused_whatever_the_ending(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[object] = []
    monkeypatch.setattr(subprocess, "Popen", lambda *command, **_: started.append(command))
    path = tmp_path / "image.png"
    path.write_bytes(encoded(kind))
    with pytest.raises(UnsafeFileError, match="it is not a JPEG, PNG, WebP or BMP image"):
        checked_size(path)
    assert is_refused_everywhere(path)
    assert started == []


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "MPO"])
def test_our_formats_are_read_whatever_the_ending(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(encoded(kind))
    assert checked_size(path) == (40, 30)
    assert read_pixels(path, 16) is not None


@pytest.mark.filterwarnings("ignore:Image size")
@pytest.mark.parametrize(
    ("width", "height"), [(13_000, 13_000), (8193, 6144), (70_000, 1), (1, 2**31 - 1), (0, 5), (5, 0)]
)
def test_pictures_beyond_the_limits_are_refused_by_their_header(width: int, height: int, tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(png_of(width, height, content=zeros(1000)))
    with pytest.raises(UnsafeFileError):
        checked_size(path)
    assert is_refused_everywhere(path)


def test_fifty_megapixels_are_allowed() -> None:
    assert 8160 * 6120 <= MAX_PIXELS <= 51_000_000


def test_a_progressive_jpeg_has_few_scans(tmp_path: Path) -> None:
    content = encoded("JPEG", progressive=True)
    last = content[content.rindex(b"\xff\xc4") : -2]
    path = tmp_path / "image.jpg"
    path.write_bytes(content[:-2] + last * 200 + content[-2:])
    with pytest.raises(UnsafeFileError, match=r"it has 2\d\d scans; the limit is 100"):
        checked_size(path)


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "missing", "dangling"])
def test_what_is_no_file_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    make: dict[str, Callable[[], object]] = {
        "pipe": lambda: os.mkfifo(path),
        "folder": path.mkdir,
        "device": lambda: path.symlink_to("/dev/zero"),
        "missing": lambda: None,
        "dangling": lambda: path.symlink_to("nowhere"),
    }
    make[kind]()
    assert is_refused_everywhere(path)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
def test_what_ends_early_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(encoded(kind)[:-500])
    assert is_refused_everywhere(path)


def pixel(content: bytes) -> tuple[int, ...]:
    with opened_image(content) as picture:
        assert picture.mode == "RGB"
        found = picture.getpixel((0, 0))
        assert isinstance(found, tuple)
        return found


def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    assert pixel(encoded("PNG", Image.fromarray(np.full((4, 4), 0x8001, np.uint16)))) == (128, 128, 128)


@pytest.mark.parametrize("transparency", [0, b"\0\1\2"], ids=["number", "bytes"])
def test_palettes_with_transparency_keep_their_colours(transparency: object) -> None:
    picture = Image.new("P", (4, 4))
    picture.putpalette([9, 8, 7] * 256)
    assert pixel(encoded("PNG", picture, transparency=transparency)) == (9, 8, 7)


def test_one_module_opens_images() -> None:
    files = Path(mnv2search.__file__).parent.rglob("*.py")
    assert [f.name for f in files if "Image.open(" in f.read_text(encoding="utf-8")] == ["image_files.py"]


def test_other_modes_come_out_as_colours() -> None:
    red = Image.new("RGB", (4, 4), (255, 0, 0))
    assert pixel(encoded("PNG", red.convert("RGBA"))) == (255, 0, 0)
    assert pixel(encoded("PNG", red.convert("1"))) in {(0, 0, 0), (255, 255, 255)}
    cyan, magenta, yellow = pixel(encoded("JPEG", red.convert("CMYK"), quality=100))
    assert (cyan > 240, magenta < 15, yellow < 15) == (True, True, True)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_of_an_animation_the_first_picture_counts(kind: str) -> None:
    frames = [Image.new("RGB", (4, 4), (level, level, level)) for level in (9, 99, 199)]
    assert pixel(encoded(kind, frames[0], save_all=True, append_images=frames[1:], lossless=True)) == (9, 9, 9)


def test_exif_turns_an_image_where_it_is_asked_for() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    with opened_image(encoded("JPEG", exif=exif), upright=True) as picture:
        assert picture.size == (30, 40)
    with opened_image(encoded("JPEG", exif=exif)) as picture:
        assert picture.size == (40, 30)


@pytest.mark.filterwarnings("ignore:Tag data larger than file")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_whose_entries_repeat_one_another_takes_little_memory(kind: str) -> None:
    count, data = 2500, 30_000
    entries = [struct.pack("<HHII", 0x0112, 3, 1, 1)]
    entries += [struct.pack("<HHII", tag, 7, data, 8 + 12 * count) for tag in range(0x1000, 0x1000 + count - 1)]
    block = b"II*\0\x08\0\0\0" + struct.pack("<H", count) + b"".join(entries) + bytes(4 + data)
    content = encoded(kind, exif=b"Exif\0\0" + block)
    assert len(content) > 60_000
    tracemalloc.start()
    try:
        with opened_image(content, upright=True) as picture:
            assert picture.size == (40, 30)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000  # as large as all entries together would be 75 MB
    finally:
        tracemalloc.stop()


SQUARE = Preprocessing(
    size=Size(width=64, height=64), output="logits", output_shape=(2,), meaning="", normalization="unit", short_px=74
)


def test_a_line_of_pixels_is_not_scaled_to_gigabytes(tmp_path: Path) -> None:
    path = tmp_path / "line.png"
    path.write_bytes(encoded("PNG", Image.new("RGB", (60_000, 1), (9, 9, 9))))
    found = calibration_images(tmp_path, files=[path], preprocessing=SQUARE)
    assert found.images.shape == (1, 3, 64, 64)
    assert np.allclose(found.images, 9 / 255)


def test_calibration_names_odd_images_and_leaves_them_out(tmp_path: Path) -> None:
    files = [tmp_path / f"{number:02}.png" for number in range(20)]
    for file in files:
        PICTURE.save(file)
    files[3].write_bytes(encoded("AVIF"))
    found = calibration_images(tmp_path, files=files, preprocessing=SQUARE)
    assert found.broken == (files[3],)


def test_one_odd_image_does_not_stop_a_set(run: Run, tmp_path: Path) -> None:
    folder = draw_pictures(tmp_path / "photos", count=8)
    (folder / "red" / "003.png").write_bytes(encoded("AVIF"))
    os.mkfifo(folder / "red" / "pipe.png")
    done = run("data", "photos")
    assert done.code == 0, done.err
    shown = " ".join(done.out.split())
    assert "1 image cannot be read, skipped in training (one image, or 2 %, per part is allowed):" in shown
    assert "photos/red/003.png: it is not a JPEG, PNG, WebP or BMP image" in shown
    assert json.loads(run("data", "photos", "--json").out)["unreadable"] == ["photos/red/003.png"]
