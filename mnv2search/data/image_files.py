"""Reading of untrusted image files, within limits and only by the decoders of four formats."""

from __future__ import annotations

import io
import os
import re
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from mnv2search.untrusted import UnsafeFileError, open_regular

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
# Pillow's names. Its other decoders start programs (EPS) or read formats that are rare in datasets.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
# Size of an image from a 50-megapixel phone camera, which takes 200 MB in Pillow, and as much again to convert.
MAX_PIXELS = 8192 * 6144
# The limit of JPEG, the most common format.
MAX_SIDE_PX = 65_535
# More than the size of an uncompressed BMP file with `MAX_PIXELS`.
MAX_FILE_BYTES = 2**28
# Larger images are decoded one at a time, so that memory does not grow with the number of threads.
LARGE_PIXELS = 2**24
LARGE = threading.RLock()
LONGEST_REASON = 120
# Maximum number of scans of a progressive JPEG; about ten are usual.
MAX_SCANS = 100
# A marker that is neither an escaped byte of pixel data nor a restart marker.
MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
START_OF_SCAN, END_OF_IMAGE = b"\xda", b"\xd9"


@contextmanager
def opened_image(
    source: Path | bytes, *, draft_px: int | None = None, upright: bool = False, as_rgb: bool = True
) -> Iterator[Image.Image]:
    """The decoded image of a file or of its content.

    With `draft_px`, a JPEG may be decoded faster at a lower resolution, with sides of at least twice this size.
    `upright` applies the rotation in the EXIF data. With `as_rgb`, the image has 8 bits per channel and no
    transparency; otherwise it keeps the mode of the file.

    Raises:
        UnsafeFileError: the file is missing, not a regular file, not one of `FORMATS`, beyond a limit, or broken.
    """
    with _header(source) as image, _turn(image, draft_px):
        with _refusals():
            image.load()
            if upright:
                ImageOps.exif_transpose(image, in_place=True)
            picture = _rgb(image) if as_rgb else image
        yield picture


def checked_size(path: Path) -> tuple[int, int]:
    """Width and height of an image that can be decoded.

    Raises:
        UnsafeFileError: as for `opened_image`.
    """
    with _header(path) as image:
        size = image.size
        with _turn(image, 1), _refusals():
            image.load()
        return size


def image_sizes(paths: Iterable[Path | None]) -> dict[Path | None, tuple[int, int] | str]:
    """Width and height of each image, or the reason why it cannot be used; every image is decoded for this check."""
    unique = list(dict.fromkeys(paths))
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return dict(zip(unique, pool.map(_size_or_reason, unique), strict=True))


def _size_or_reason(path: Path | None) -> tuple[int, int] | str:
    if path is None:
        return "there is no such file"
    try:
        return checked_size(path)
    except UnsafeFileError as error:
        return f"it is not a readable image ({error})"


@contextmanager
def _header(source: Path | bytes) -> Iterator[Image.Image]:
    """The image with its header read and its size checked."""
    with ExitStack() as stack:
        with _refusals():
            file = io.BytesIO(source) if isinstance(source, bytes) else open_regular(source, max_bytes=MAX_FILE_BYTES)
            image = stack.enter_context(Image.open(stack.enter_context(file), formats=FORMATS))
            width, height = image.size
            if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE_PX:
                limits = f"the limits are {MAX_PIXELS:,} pixels and {MAX_SIDE_PX:,} px a side"
                raise UnsafeFileError(f"it has {width:,} x {height:,} px; {limits}")
            if width < 1 or height < 1:
                raise UnsafeFileError(f"it has {width} x {height} px")
            if isinstance(image, JpegImageFile):
                file.seek(0)
                _check_scans(file.read())
        yield image


def _check_scans(content: bytes) -> None:
    """Refuse a progressive JPEG with many scans: each has few bytes, but is decoded over the whole image."""
    scans, at = 0, 2
    while (found := MARKER.search(content, at)) is not None and found[1] != END_OF_IMAGE:
        scans += found[1] == START_OF_SCAN
        at = found.end() + int.from_bytes(content[found.end() : found.end() + 2])
    if scans > MAX_SCANS:
        raise UnsafeFileError(f"it has {scans:,} scans; the limit is {MAX_SCANS}")


def _turn(image: Image.Image, draft_px: int | None) -> AbstractContextManager[object]:
    """The lock for decoding an image, so that large images are decoded one at a time; also sets a JPEG's draft."""
    whole = image.width * image.height if "progressive" in image.info else 0  # decoded in memory as a whole
    if draft_px is not None:
        with _refusals():
            image.draft("RGB", (2 * draft_px, 2 * draft_px))
    return LARGE if max(whole, image.width * image.height) > LARGE_PIXELS else nullcontext()


@contextmanager
def _refusals() -> Iterator[None]:
    """Convert every exception that Pillow raises for a hostile file to UnsafeFileError."""
    try:
        yield
    except UnsafeFileError:
        raise
    except UnidentifiedImageError:
        raise UnsafeFileError("it is not a JPEG, PNG, WebP or BMP image") from None
    except Image.DecompressionBombError:
        raise UnsafeFileError(f"it has more than {MAX_PIXELS:,} pixels") from None
    except MemoryError:
        raise UnsafeFileError("there is not enough memory to decode it") from None
    except OSError as error:
        raise UnsafeFileError(error.strerror or _reason(error)) from error
    except Exception as error:  # decoders raise nearly anything: struct.error, KeyError, zlib.error, …
        raise UnsafeFileError(_reason(error)) from error


def _reason(error: Exception) -> str:
    return str(error)[:LONGEST_REASON] or type(error).__name__


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits, which Pillow would clip at 255
        values = np.asarray(image) >> 8
        image = Image.fromarray(values.clip(0, 255).astype(np.uint8))
    image.info.pop("transparency", None)  # Pillow warns about transparency in palettes
    return image.convert("RGB")
