"""The precision in which a training computes its convolutions."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch

Precision: TypeAlias = Literal["float32", "bfloat16", "float16"]


def half_of(device: str) -> Precision:
    """The half precision of a device: bfloat16, or float16 on a GPU without bfloat16 arithmetic.

    >>> half_of("cpu")
    'bfloat16'
    """
    if not device.startswith("cuda") or torch.cuda.is_bf16_supported(including_emulation=False):
        return "bfloat16"
    return "float16"


def scaler_of(precision: Precision, device: str) -> torch.amp.GradScaler:
    """A gradient scaler, which prevents underflow in float16 and is disabled in other precisions.

    Source: Micikevicius et al., arXiv 1710.03740, section 3.2.
    """
    return torch.amp.GradScaler(torch.device(device).type, enabled=precision == "float16")


def autocast(precision: Precision, device: str) -> torch.autocast:
    """A context that computes convolutions in the given precision."""
    lower = torch.float16 if precision == "float16" else torch.bfloat16
    return torch.autocast(torch.device(device).type, lower, enabled=precision != "float32")
