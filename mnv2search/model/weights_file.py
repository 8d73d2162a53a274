"""Files of weights of every format, through one function that runs no code of theirs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors

from mnv2search.model.npz_file import read_npz_file
from mnv2search.model.programs import SUFFIX, read_program_file
from mnv2search.model.torch_file import read_torch_file
from mnv2search.untrusted import UnsafeFileError, open_regular

__all__ = ["read_weights_file"]

MAX_BYTES = 4 << 30


def read_weights_file(path: Path) -> Any:
    """What a file of weights holds: plain data with tensors or arrays.

    Nothing of a file is unpickled, imported, evaluated or unpacked to disk, and what it takes of memory is bounded by
    its size: of `.npz`, `.safetensors`, `.pt2`, and what `torch.save` wrote, of any other ending.

    Raises:
        UnsafeFileError: it cannot be read so; the message says why, without the path.
        OSError: it is missing or cannot be read.
    """
    read = READERS.get(path.suffix, read_torch_file)
    with open_regular(path, max_bytes=MAX_BYTES) as file:
        return read(file)


def _read_safetensors(file: BinaryIO) -> Any:
    try:
        return load_safetensors(file.read(MAX_BYTES))
    except (SafetensorError, ValueError, LookupError, TypeError, RuntimeError) as error:
        raise UnsafeFileError((str(error).splitlines() or [type(error).__name__])[0][:200]) from None


READERS: dict[str, Callable[[BinaryIO], Any]] = {
    ".npz": read_npz_file,
    ".safetensors": _read_safetensors,
    SUFFIX: read_program_file,
}
