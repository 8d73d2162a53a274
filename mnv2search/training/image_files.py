"""Image files from outside: opened within limits and decoded by the decoders of four formats alone."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from mnv2search.untrusted import UnsafeFileError, open_regular

__all__ = ["FORMATS", "MAX_FILE_BYTES", "MAX_PIXELS", "MAX_SIDE_PX", "SUFFIXES", "checked_size", "opened_image"]

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
# Pillow's names. Its other decoders start programs (EPS), or read formats that few sets of images have.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
# What phones of 50 megapixels make. It takes 200 MB in Pillow, and as much again to be converted.
MAX_PIXELS = 8192 * 6144
# Of JPEG, the format that is most used.
MAX_SIDE_PX = 65_535
# More than `MAX_PIXELS` take in a BMP file, which is not compressed.
MAX_FILE_BYTES = 2**28
# Above this images are decoded one at a time, so that memory does not grow with the number of threads.
LARGE_PIXELS = 2**24
LARGE = threading.RLock()
LONGEST_REASON = 120
# Of a progressive JPEG, which has about ten.
MAX_SCANS = 100
# A marker, and not a byte of the pixels that is escaped or a restart.
MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
START_OF_SCAN, END_OF_IMAGE = b"\xda", b"\xd9"


@contextmanager
def opened_image(
    source: Path | bytes, *, draft_px: int | None = None, upright: bool = False, as_rgb: bool = True
) -> Iterator[Image.Image]:
    """A decoded image.

    Args:
        source: a file, or its content.
        draft_px: sides that are enough: a JPEG may come out smaller, and faster, with twice as many.
        upright: turned as its EXIF says.
        as_rgb: without transparency and with 8 bits a channel; otherwise in the mode of the file.

    Raises:
        UnsafeFileError: it is missing, is no regular file, is none of `FORMATS`, is beyond a limit, or is broken.
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
        UnsafeFileError: as `opened_image`.
    """
    with _header(path) as image:
        size = image.size
        with _turn(image, 1), _refusals():
            image.load()
        return size


@contextmanager
def _header(source: Path | bytes) -> Iterator[Image.Image]:
    """An image whose header is read and whose size is within the limits."""
    with ExitStack() as stack:
        with _refusals():
            file = io.BytesIO(source) if isinstance(source, bytes) else open_regular(source, max_bytes=MAX_FILE_BYTES)
            image = stack.enter_context(Image.open(stack.enter_context(file), formats=FORMATS))
            width, height = image.size
            if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE_PX:
                limits = f"{MAX_PIXELS:,} pixels and {MAX_SIDE_PX:,} px a side are the limits"
                raise UnsafeFileError(f"it has {width:,} x {height:,} px, and {limits}")
            if width < 1 or height < 1:
                raise UnsafeFileError(f"it has {width} x {height} px")
            if isinstance(image, JpegImageFile):
                file.seek(0)
                _check_scans(file.read())
        yield image


def _check_scans(content: bytes) -> None:
    """Refuse a JPEG that goes over its pixels for hours: each scan of a progressive one does, and takes few bytes."""
    scans, at = 0, 2
    while (found := MARKER.search(content, at)) is not None and found[1] != END_OF_IMAGE:
        scans += found[1] == START_OF_SCAN
        at = found.end() + int.from_bytes(content[found.end() : found.end() + 2])
    if scans > MAX_SCANS:
        raise UnsafeFileError(f"it has {scans:,} scans, and {MAX_SCANS} are the limit")


def _turn(image: Image.Image, draft_px: int | None) -> AbstractContextManager[object]:
    """What to hold while an image is decoded, a JPEG at fewer pixels: large ones wait for one another."""
    whole = image.width * image.height if "progressive" in image.info else 0  # of these all are in memory anyway
    if draft_px is not None:
        with _refusals():
            image.draft("RGB", (2 * draft_px, 2 * draft_px))
    return LARGE if max(whole, image.width * image.height) > LARGE_PIXELS else nullcontext()


@contextmanager
def _refusals() -> Iterator[None]:
    """Turns whatever Pillow raises on a hostile file into one error."""
    try:
        yield
    except UnsafeFileError:
        raise
    except UnidentifiedImageError:
        raise UnsafeFileError("it is no JPEG, PNG, WebP or BMP image") from None
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
    if image.mode.startswith("I"):  # 16 bits, of which Pillow would clip all above 255
        values = np.asarray(image) >> 8
        image = Image.fromarray(values.clip(0, 255).astype(np.uint8))
    image.info.pop("transparency", None)  # Pillow warns of palettes with it
    return image.convert("RGB")
