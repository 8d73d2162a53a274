"""Reading of files of `torch.save` without pickle: zip archives, and the format before torch 1.6.

Source: torch 2.13, torch/serialization.py, `_save`, `_legacy_save`, `_load` and `_legacy_load`.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Mapping
from typing import BinaryIO

import torch
from torch import Tensor

from mnv2search.model.weights.pickled_values import GlobalName, LoadStorage, read_pickle
from mnv2search.model.weights.stored_tensor import MAX_ELEMENTS, storage_of, strided_tensor
from mnv2search.model.weights.zip_archive import ZipArchive
from mnv2search.untrusted import UnsafeFileError

ZIP = b"PK\x03\x04"
MAX_PICKLE_BYTES = 8 << 20
# A file from before torch 1.6 begins with these, each in its own pickle.
MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001
STORAGES: Mapping[str, torch.dtype] = {
    "torch.DoubleStorage": torch.float64,
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
    "torch.ComplexDoubleStorage": torch.complex128,
    "torch.ComplexFloatStorage": torch.complex64,
    # these occur only inside tensors of kinds that are not read
    "torch.QInt8Storage": torch.int8,
    "torch.QUInt8Storage": torch.uint8,
    "torch.QInt32Storage": torch.int32,
}


def read_torch_file(file: BinaryIO) -> object:
    """The content of a file of `torch.save`: plain data, with tensors on the CPU.

    Raises:
        UnsafeFileError: `torch.save` did not write the file, or it is damaged or contains more than data and tensors.
    """
    start = file.read(len(ZIP))
    file.seek(0)
    if not start:
        raise UnsafeFileError("it is empty")
    return _read_zip(ZipArchive(file)) if start == ZIP else _read_before_zip(file)


def _read_zip(archive: ZipArchive) -> object:
    pickles = [name for name in archive.names if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise UnsafeFileError("it was not written by torch.save")
    root = pickles[0].removesuffix("data.pkl")
    if f"{root}constants.pkl" in archive.names:
        raise UnsafeFileError("it is a TorchScript program")
    if f"{root}byteorder" in archive.names and archive.read(f"{root}byteorder", max_bytes=16) != b"little":
        raise UnsafeFileError("its numbers are big-endian")
    contents: dict[str, bytearray] = {}

    def load(identifier: object) -> Tensor:
        dtype, key, elements = _described(identifier)
        if key not in contents:
            contents[key] = archive.read(f"{root}data/{key}")
        return storage_of(contents[key], dtype, elements)

    return read_pickle(io.BytesIO(archive.read(pickles[0], max_bytes=MAX_PICKLE_BYTES)), load)


def _read_before_zip(file: BinaryIO) -> object:
    """The value of a file with five pickles (the fourth is the value, the fifth lists the storages) and storages."""
    try:
        is_torch = (_next_value(file), _next_value(file)) == (MAGIC_NUMBER, PROTOCOL_VERSION)
    except UnsafeFileError:
        is_torch = False
    if not is_torch:
        raise UnsafeFileError("it was not written by torch.save, or holds more than weights")
    _next_value(file)  # describes the machine that wrote it
    at = file.tell()
    described: dict[str, tuple[torch.dtype, int]] = {}

    def note(identifier: object) -> Tensor:
        dtype, key, elements = _described(identifier)
        described.setdefault(key, (dtype, elements))
        return torch.empty(elements, dtype=dtype, device="meta")

    _next_value(file, note)
    storages = _storages_behind(file, described)
    file.seek(at)
    return _next_value(file, lambda identifier: _part(storages, identifier))


def _storages_behind(file: BinaryIO, described: Mapping[str, tuple[torch.dtype, int]]) -> dict[str, Tensor]:
    """The storages at the end of a file, each preceded by its number of elements."""
    keys = _next_value(file)
    if not isinstance(keys, list) or any(not isinstance(key, str) or key not in described for key in keys):
        raise UnsafeFileError("it is cut off or damaged: the storages it lists are not those of its tensors")
    return {key: _next_storage(file, *described[key]) for key in keys}


def _next_storage(file: BinaryIO, dtype: torch.dtype, elements: int) -> Tensor:
    at, end = file.tell(), file.seek(0, os.SEEK_END)
    file.seek(at)
    if file.read(8) != struct.pack("<q", elements) or end - at - 8 < elements * dtype.itemsize:
        raise UnsafeFileError("it is cut off or damaged: a storage is shorter than it says")
    return storage_of(bytearray(file.read(elements * dtype.itemsize)), dtype, elements)


def _part(storages: Mapping[str, Tensor], identifier: object) -> Tensor:
    """A storage or, if its persistent id has a sixth entry with a key, an offset and a size, that part of it."""
    whole = storages[_described(identifier)[1]]
    part = identifier[5] if isinstance(identifier, tuple) and len(identifier) > 5 else None
    if part is None:
        return whole
    _, offset, size = part
    return strided_tensor(whole, (size,), (1,), offset)


def _next_value(file: BinaryIO, load_storage: LoadStorage | None = None) -> object:
    """The value of the pickle at the current position of a file, which is then just after the pickle."""
    at = file.tell()
    content = io.BytesIO(file.read(MAX_PICKLE_BYTES))
    value = read_pickle(content, load_storage)
    file.seek(at + content.tell())
    return value


def _described(identifier: object) -> tuple[torch.dtype, str, int]:
    """The dtype, the key and the number of elements of a storage, from its persistent id."""
    if not isinstance(identifier, tuple) or len(identifier) < 5 or identifier[0] != "storage":
        raise UnsafeFileError("it is cut off or damaged: a tensor names no storage")
    _, kind, key, _, elements, *_ = identifier
    if not isinstance(kind, GlobalName) or kind.name not in STORAGES:
        raise UnsafeFileError(f"it holds tensors of an uncommon type ({getattr(kind, 'name', kind)!s:.100})")
    if not isinstance(key, str) or type(elements) is not int or not 0 <= elements <= MAX_ELEMENTS:
        raise UnsafeFileError("it is cut off or damaged: a storage has no key or no element count")
    return STORAGES[kind.name], key, elements
