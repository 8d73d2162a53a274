"""The weights of a network as arrays, free of any framework."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LayerArrays:
    """The arrays of one layer of the plan, with its normalizer.

    Attributes:
        weight: one array per part of a split convolution, else one; each (outputs, inputs / groups, k, k), and
            (classes, inputs) for the classifier.
        bias: (outputs,), over all parts; None where the layer has none.
        gamma: scale of the normalizer, (outputs,), over all parts; None without one.
        beta: shift of the normalizer, alike.
        mean: running mean of a batch norm, alike; None for a group norm.
        var: running variance of a batch norm, alike.
    """

    weight: tuple[Floats, ...]
    bias: Floats | None = None
    gamma: Floats | None = None
    beta: Floats | None = None
    mean: Floats | None = None
    var: Floats | None = None


# (index of the unit in the plan, index of the layer in the unit) -> its arrays
NetworkArrays: TypeAlias = Mapping[tuple[int, int], LayerArrays]
