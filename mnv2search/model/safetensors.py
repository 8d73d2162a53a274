"""Tensors from a safetensors file, in which timm's weights are published."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

__all__ = ["read_safetensors"]

# Source: huggingface/safetensors, README, "Format".
PREFIX = struct.Struct("<Q")
METADATA = "__metadata__"
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
}


def read_safetensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    """Names and tensors of a file: the length of a JSON header, the header, the tensors' bytes.

    Raises:
        ValueError: the file does not have this form.
        OSError: the file cannot be read.
    """
    content = path.read_bytes()
    if len(content) < PREFIX.size:
        raise ValueError("it is too short for a header")
    (length,) = PREFIX.unpack_from(content)
    start = PREFIX.size + length
    if start > len(content):
        raise ValueError(f"its header says it is {length} bytes long, the file has {len(content)}")
    header = json.loads(content[PREFIX.size : start])
    if not isinstance(header, Mapping):
        raise ValueError("its header is no mapping")
    data = bytearray(content[start:])
    for name, entry in header.items():
        if name != METADATA:
            yield name, _tensor(name, entry, data)


def _tensor(name: str, entry: Any, data: bytearray) -> Tensor:
    match entry:
        case {"dtype": str(kind), "shape": [*shape], "data_offsets": [int(first), int(end)]}:
            pass
        case _:
            raise ValueError(f"{name} is not described by dtype, shape and data_offsets")
    if kind not in DTYPES:
        raise ValueError(f"{name} is of type {kind!r}, not one of {', '.join(DTYPES)}")
    if not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f"{name} has the shape {shape}")
    if not 0 <= first <= end <= len(data):
        raise ValueError(f"{name} lies at {first} to {end} of {len(data)} bytes")
    dtype, count = DTYPES[kind], math.prod(shape)
    if count * dtype.itemsize != end - first:
        raise ValueError(f"{name} takes {count * dtype.itemsize} bytes, not {end - first}")
    if count == 0:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(data, dtype=dtype, count=count, offset=first).reshape(shape)
