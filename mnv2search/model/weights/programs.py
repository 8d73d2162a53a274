"""Programs of torch.export with the spec of their network; reading uses only the spec and the weights.

`torch.export.load` unpickles several members of a file and evaluates text in others, so it is never used on a file.

Source: torch 2.13, torch/export/pt2_archive/_package.py and torch/_export/serde/schema.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import IO, BinaryIO

import torch
from torch import Tensor

from mnv2search.model.weights.stored_tensor import UnreadTensor, storage_of, strided_tensor
from mnv2search.model.weights.zip_archive import ZipArchive
from mnv2search.untrusted import UnsafeFileError, json_value

SUFFIX = ".pt2"
# A member that torch ignores.
TOLD = "mnv2search.json"
WEIGHTS = "data/weights/"
CONFIG = "model_weights_config.json"
MAX_CONFIG_BYTES = 32 << 20
# Source: torch/_export/serde/schema.py, `ScalarType` and `Layout`.
DTYPES: Mapping[object, torch.dtype] = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    10: torch.complex64,
    11: torch.complex128,
    12: torch.bool,
    13: torch.bfloat16,
}
STRIDED = 7


def write_program(
    program: torch.export.ExportedProgram, to: IO[bytes], *, told: Mapping[str, object], others: Mapping[str, str]
) -> None:
    """Write a program with a description of its network as JSON values, and other texts by file name."""
    torch.export.save(program, to, extra_files={TOLD: json.dumps(told), **others})


def read_program_file(file: BinaryIO) -> dict[str, object]:
    """The description of a program's network, with its weights as ``state_dict``.

    Raises:
        UnsafeFileError: the file is no such program, lacks the description, is damaged, or has pickled weights.
    """
    archive = ZipArchive(file)
    root = next(iter(archive.names), "").partition("/")[0]
    if f"{root}/extra/{TOLD}" not in archive.names:
        raise UnsafeFileError("it does not describe its network")
    told = _json(archive, f"{root}/extra/{TOLD}")
    if f"{root}/{WEIGHTS}{CONFIG}" not in archive.names:
        raise UnsafeFileError("its weights are pickled, as torch before 2.8 wrote them")
    described = _json(archive, f"{root}/{WEIGHTS}{CONFIG}").get("config")
    if not isinstance(described, dict):
        raise UnsafeFileError("it is cut off or damaged: it does not describe its weights")
    contents: dict[str, bytearray] = {}
    state = {name: _weight(archive, f"{root}/{WEIGHTS}", entry, contents) for name, entry in described.items()}
    return {**told, "state_dict": state}


def _json(archive: ZipArchive, name: str) -> dict[str, object]:
    try:
        found = json_value(archive.read(name, max_bytes=MAX_CONFIG_BYTES).decode("utf-8"))
    except UnicodeDecodeError:
        raise UnsafeFileError(f"its member {name!r} is not text") from None
    if not isinstance(found, dict):
        raise UnsafeFileError(f"its member {name!r} is not a JSON object")
    return found


def _weight(archive: ZipArchive, folder: str, entry: object, contents: dict[str, bytearray]) -> Tensor | UnreadTensor:
    """A weight from its bytes and its description; `contents` caches the members read so far."""
    try:
        path, meta = entry["path_name"], entry["tensor_meta"]  # type: ignore[index]
        if entry["use_pickle"] is not False:  # type: ignore[index]
            return UnreadTensor("pickled")
        if meta["layout"] != STRIDED:
            return UnreadTensor("sparse")
        sizes, strides = ([size["as_int"] for size in meta[key]] for key in ("sizes", "strides"))
        dtype, offset = meta["dtype"], meta["storage_offset"]["as_int"]
    except (TypeError, LookupError):
        raise UnsafeFileError("it is cut off or damaged: it does not describe its weights") from None
    if type(dtype) is not int or dtype not in DTYPES or not isinstance(path, str):
        return UnreadTensor("of an uncommon type")
    if path not in contents:
        contents[path] = archive.read(f"{folder}{path}")
    return strided_tensor(storage_of(contents[path], DTYPES[dtype]), sizes, strides, offset)
