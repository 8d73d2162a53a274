"""Input and output of a lowering: the weights of a network as arrays, and the files of a runtime."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LayerArrays:
    """The arrays of one layer of the plan, with its normalizer.

    Attributes:
        weight: one array per part of a split convolution, else one array; each is (outputs, inputs / groups, k, k),
            or (classes, inputs) for the classifier.
        bias: bias, (outputs,) over all parts, like the following arrays.
        gamma: scale of the normalizer; `beta` is its shift.
        mean: running mean of a batch norm, None for a group norm; `var` is its running variance.
    """

    weight: tuple[Floats, ...]
    bias: Floats | None = None
    gamma: Floats | None = None
    beta: Floats | None = None
    mean: Floats | None = None
    var: Floats | None = None


# (index of the unit in the plan, index of the layer in the unit) -> its arrays
NetworkArrays: TypeAlias = Mapping[tuple[int, int], LayerArrays]


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """Files by name, such as ``model.onnx``, or ``model.param`` and ``model.bin``."""

    files: tuple[tuple[str, bytes], ...]

    @property
    def digest(self) -> str:
        """Forty hex digits that identify the content of the files.

        >>> Artifact(files=(("model.onnx", b"1"),)).digest == Artifact(files=(("model.onnx", b"2"),)).digest
        False
        """
        found = hashlib.sha256()
        for name, content in self.files:
            found.update(f"{name}\0{len(content)}\0".encode())
            found.update(content)
        return found.hexdigest()[:40]

    def write(self, folder: Path) -> None:
        """Write the files into an existing folder."""
        for name, content in self.files:
            (folder / name).write_bytes(content)
