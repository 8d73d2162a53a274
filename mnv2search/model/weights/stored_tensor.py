"""Tensors from raw bytes and an untrusted description."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mnv2search.untrusted import UnsafeFileError

MAX_AXES = 8
# Source: torch counts elements and bytes in an int64; divided by the size of the largest element.
MAX_ELEMENTS = 2**58


@dataclass(frozen=True, slots=True)
class UnreadTensor:
    """Placeholder for a tensor of a kind not allowed for weights, such as ``quantized`` or ``sparse``."""

    kind: str


def storage_of(content: bytearray, dtype: torch.dtype, elements: int | None = None) -> Tensor:
    """The first elements of a buffer as a tensor of one axis that shares its memory; None takes all of them.

    Raises:
        UnsafeFileError: the buffer has fewer elements.
    """
    held = len(content) // dtype.itemsize
    wanted = held if elements is None else elements
    if not 0 <= wanted <= held:
        raise UnsafeFileError(f"a storage has {held:,} elements, not {wanted:,} as stated")
    return torch.frombuffer(content, dtype=dtype, count=wanted) if wanted else torch.empty(0, dtype=dtype)


def strided_tensor(storage: object, sizes: object, strides: object, offset: object) -> Tensor:
    """A view of a storage, checked to be inside of the storage and to have no more elements.

    Raises:
        UnsafeFileError: the view reaches beyond the storage, or has more elements than the storage.
    """
    if not isinstance(storage, Tensor) or storage.ndim != 1:
        raise UnsafeFileError("a tensor does not refer to a storage")
    shape, steps, (start,) = _counts(sizes), _counts(strides), _counts((offset,))
    if len(shape) != len(steps) or len(shape) > MAX_AXES:
        raise UnsafeFileError(f"a tensor has {len(shape)} sizes and {len(steps)} strides")
    elements = math.prod(shape)
    if not elements and math.prod(max(size, 1) for size in shape) <= MAX_ELEMENTS:
        return storage.new_empty(shape)
    last = start + sum((size - 1) * step for size, step in zip(shape, steps, strict=True))
    if not 0 < elements <= len(storage) or last >= len(storage):
        shown = " x ".join(str(size) for size in shape)
        raise UnsafeFileError(f"a tensor of {shown} elements does not fit its storage of {len(storage):,}")
    return storage.as_strided(shape, steps, start)


def _counts(values: object) -> tuple[int, ...]:
    given = values if isinstance(values, list | tuple) else (None,)
    counts = tuple(value for value in given if type(value) is int and 0 <= value <= MAX_ELEMENTS)
    if len(counts) < len(given):
        raise UnsafeFileError("the sizes, strides or offset of a tensor are not element counts")
    return counts
