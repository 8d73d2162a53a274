"""Reading of weights files of every format, without running code from them."""

from __future__ import annotations

import io
import math
import tokenize
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor

from mnv2search.errors import WeightsError
from mnv2search.model.weights.programs import SUFFIX, read_program_file
from mnv2search.model.weights.stored_tensor import UnreadTensor
from mnv2search.model.weights.torch_file import read_torch_file
from mnv2search.model.weights.zip_archive import ZipArchive
from mnv2search.untrusted import UnsafeFileError, open_regular

StoredArray: TypeAlias = Tensor | NDArray[np.generic]
MAX_BYTES = 4 << 30
LONGEST_NAME = 100
ARRAY = ".npy"
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
# Errors of numpy for a malformed header, which it parses as a Python literal.
MALFORMED = (ValueError, TypeError, LookupError, SyntaxError, tokenize.TokenError)
# Kinds of numbers that torch supports, with the size of their widest type in bytes.
WIDEST_BYTES = {"b": 1, "i": 8, "u": 8, "f": 8, "c": 16}


def read_weights_file(path: Path) -> object:
    """The content of a weights file: plain data with tensors or arrays.

    The suffix determines the format: `.npz`, `.safetensors`, `.pt2`, or else the format of `torch.save`.
    Nothing in a file is unpickled, imported, evaluated or unpacked to disk, and memory is bounded by the file's size.

    Raises:
        UnsafeFileError: the file cannot be read in this way; the message states the reason, without the path.
        OSError: the file is missing or cannot be read.
    """
    read = READERS.get(path.suffix, read_torch_file)
    with open_regular(path, max_bytes=MAX_BYTES) as file:
        return read(file)


def read_weights_content(content: bytes) -> object:
    """The content of a file in the format of `torch.save`, as `read_weights_file` reads it.

    Raises:
        UnsafeFileError: the content cannot be read in this way.
    """
    return read_torch_file(io.BytesIO(content))


def checked_state_dict(found: object, path: Path) -> dict[str, StoredArray]:
    """The state dict in a file: tensors or arrays by name.

    Raises:
        WeightsError: the file contains something else.
    """
    hint = "save model.state_dict() with torch.save"
    if not isinstance(found, Mapping):
        raise WeightsError(f"{path} contains {type(found).__name__}, not a state dict", hint=hint)
    for name, value in found.items():
        if not isinstance(name, str):
            raise WeightsError(f"{path} is not a state dict: one of its keys is {name!r:.{LONGEST_NAME}}", hint=hint)
        if isinstance(value, UnreadTensor):
            raise WeightsError(
                f"the weights of {path} cannot be read: {shortened(name)} is a tensor {value.kind}",
                hint="save plain floating-point tensors on the CPU",
            )
        if not isinstance(value, Tensor | np.ndarray):
            raise WeightsError(
                f"{path} is not a state dict: {shortened(name)} is {type(value).__name__}, not a tensor", hint=hint
            )
    return dict(found)


def why_unreadable(error: OSError | UnsafeFileError) -> str:
    """The reason why a file was not read."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    return (error.strerror or str(error)).lower() if isinstance(error, OSError) else str(error)


def shortened(name: str) -> str:
    """A name from a file, shortened for a message."""
    return name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}…"


def _read_safetensors(file: BinaryIO) -> dict[str, Tensor]:
    try:
        return load_safetensors(file.read(MAX_BYTES))
    except (SafetensorError, ValueError, LookupError, TypeError, RuntimeError) as error:
        raise UnsafeFileError((str(error).splitlines() or [type(error).__name__])[0][:200]) from None


def read_npz_file(file: BinaryIO) -> dict[str, NDArray[np.generic]]:
    """The arrays of an `.npz` file by name.

    Raises:
        UnsafeFileError: the file is no `.npz` file, is damaged, unpacks to far more than its size, or has objects.
    """
    archive = ZipArchive(file)
    return {name.removesuffix(ARRAY): _array(archive.read(name), name) for name in archive.names}


def _array(content: bytearray, name: str) -> NDArray[np.generic]:
    file = io.BytesIO(content)
    try:
        read_header = HEADERS[np.lib.format.read_magic(file)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a malformed header may contain invalid escapes
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


READERS: dict[str, Callable[[BinaryIO], object]] = {
    ".npz": read_npz_file,
    ".safetensors": _read_safetensors,
    SUFFIX: read_program_file,
}
