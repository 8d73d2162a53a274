"""Flatbuffers without generated code: tables by slot, vectors, and arrays that are copied once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from flatbuffers.builder import Builder
from numpy.typing import NDArray

Field: TypeAlias = tuple[str, float]
"""A number with its type as named in Builder's methods, such as ``("Int32", 3)``."""


class Flatbuffer:
    """A writer of tables, innermost first, as flatbuffers require; `room` is the initial size in bytes."""

    def __init__(self, room: int) -> None:
        self._builder = Builder(room)

    def table(self, slots: int, offsets: Mapping[int, int], fields: Mapping[int, Field] | None = None) -> int:
        """A table with `slots` slots, from offsets of objects written before and numbers that are always stored."""
        builder = self._builder
        builder.StartObject(slots)
        for slot, offset in offsets.items():
            builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
        for slot, (kind, value) in (fields or {}).items():
            prepend: Callable[[float], None] = getattr(builder, f"Prepend{kind}")
            prepend(value)
            builder.Slot(slot)
        return int(builder.EndObject())

    def text(self, text: str) -> int:
        """A string."""
        return int(self._builder.CreateString(text))

    def numbers(self, values: Sequence[int] | Sequence[float] | NDArray[np.generic], kind: type = np.int32) -> int:
        """A vector of numbers."""
        return int(self._builder.CreateNumpyVector(np.asarray(values, kind)))

    def vector(self, offsets: Sequence[int]) -> int:
        """A vector of tables."""
        builder = self._builder
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return int(builder.EndVector())

    def raw(self, chunks: Sequence[NDArray[np.generic]], alignment: int) -> int:
        """A vector of the bytes of all chunks, each copied once."""
        builder = self._builder
        total = sum(chunk.nbytes for chunk in chunks)
        builder.StartVector(1, total, alignment)
        builder.head -= total
        memory = np.frombuffer(builder.Bytes, np.uint8, total, builder.head)
        start = 0
        for chunk in chunks:
            memory[start : start + chunk.nbytes] = chunk.reshape(-1).view(np.uint8)
            start += chunk.nbytes
        return int(builder.EndVector())

    def finished(self, root: int, identifier: str) -> bytes:
        """The finished buffer, with the identifier of its schema."""
        self._builder.Finish(root, identifier.encode())
        return bytes(self._builder.Output())
