"""Arrays of `.npz` files, whose headers are checked before anything is allocated."""

from __future__ import annotations

import io
import math
import tokenize
import warnings
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from mnv2search.model.weights.zip_archive import ZipArchive
from mnv2search.untrusted import UnsafeFileError

SUFFIX = ".npy"
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
# What numpy raises for a malformed header, which it parses as a Python literal.
MALFORMED = (ValueError, TypeError, LookupError, SyntaxError, tokenize.TokenError)
# Kinds of numbers that torch supports, with the size of their widest type in bytes.
WIDEST_BYTES = {"b": 1, "i": 8, "u": 8, "f": 8, "c": 16}


def read_npz_file(file: BinaryIO) -> dict[str, NDArray[np.generic]]:
    """The arrays of an `.npz` file by their names.

    Raises:
        UnsafeFileError: it is not an `.npz` file, is damaged, unpacks to much more than its size, or holds objects.
    """
    archive = ZipArchive(file)
    return {name.removesuffix(SUFFIX): _array(archive.read(name), name) for name in archive.names}


def _array(content: bytearray, name: str) -> NDArray[np.generic]:
    file = io.BytesIO(content)
    try:
        read_header = HEADERS[np.lib.format.read_magic(file)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a malformed header may hold invalid escapes
            shape, is_fortran, dtype = read_header(file)
    except (*MALFORMED, RecursionError, MemoryError) as error:
        raise UnsafeFileError(f"its member {name[:100]!r} is not an array ({type(error).__name__})") from None
    if dtype.itemsize > WIDEST_BYTES.get(dtype.kind, 0):
        raise UnsafeFileError(f"its member {name[:100]!r} holds {dtype.name[:100]}, not numbers")
    left = len(content) - file.tell()
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != left or math.prod(shape or (1,)) == 0:
        shown = " x ".join(str(size) for size in shape)
        raise UnsafeFileError(f"its member {name[:100]!r} claims {shown} numbers but has only {left:,} bytes")
    values = np.frombuffer(content, dtype, offset=file.tell())
    return values.reshape(shape, order="F" if is_fortran else "C").astype(dtype.newbyteorder("="), copy=False)
