"""The words that a spec may use where a value is one of a few."""

from __future__ import annotations

from typing import Literal

__all__ = [
    "Activation",
    "DepthwiseLocation",
    "KeepLast",
    "Normalizer",
    "Operator",
    "Padding",
    "Residual",
    "Transform",
]

Activation = Literal["relu6", "relu", "hard_swish", "silu", "none"]
DepthwiseLocation = Literal["expansion", "input", "output", "none"]
KeepLast = Literal["auto", "always", "never"]
Normalizer = Literal["batch", "group", "none"]
Operator = Literal["inverted_residual", "fused"]
Padding = Literal["symmetric", "same", "valid"]
Residual = Literal["auto", "off", "pad"]
Transform = Literal["none", "squeeze_excite", "squeeze_excite_v3"]
