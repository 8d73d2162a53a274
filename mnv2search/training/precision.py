"""The precision in which a training computes its convolutions."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch

Precision: TypeAlias = Literal["float32", "bfloat16", "float16"]


def half_of(device: str) -> Precision:
    """The half precision that suits a device: bfloat16, but float16 on a GPU without arithmetic for it.

    >>> half_of("cpu")
    'bfloat16'
    """
    if not device.startswith("cuda") or torch.cuda.is_bf16_supported(including_emulation=False):
        return "bfloat16"
    return "float16"


def scaler_of(precision: Precision, device: str) -> torch.amp.GradScaler:
    """A scaler that keeps small gradients from vanishing in float16, and does nothing in other precisions.

    Source: Micikevicius et al., arXiv 1710.03740, section 3.2.
    """
    return torch.amp.GradScaler(torch.device(device).type, enabled=precision == "float16")


def autocast(precision: Precision, device: str) -> torch.autocast:
    """A context in which convolutions are computed in a precision."""
    lower = torch.float16 if precision == "float16" else torch.bfloat16
    return torch.autocast(torch.device(device).type, lower, enabled=precision != "float32")
