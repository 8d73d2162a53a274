"""Folding of batch norms into the convolutions before them, for deployment."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from mnv2search.errors import OptionError
from mnv2search.model.blocks import convolutions
from mnv2search.model.build import MobileNet, build


def fold(model: MobileNet) -> MobileNet:
    """A copy in evaluation mode with every batch norm folded into the convolution before it; group norms stay."""
    spec = model.spec
    rows = (replace(row, normalizer="none") if row.normalizer == "batch" else row for row in spec.blocks)
    whole = "none" if spec.normalizer == "batch" else spec.normalizer
    folded = build(replace(spec, blocks=tuple(rows), normalizer=whole), seed=0).eval()
    with torch.no_grad():
        for (_, source), (_, target) in zip(model.bound(), folded.bound(), strict=True):
            if isinstance(source.norm, nn.BatchNorm2d):
                _fold_layer(source.conv, source.norm, target.conv)
            else:
                target.conv.load_state_dict(source.conv.state_dict())
                if source.norm is not None and target.norm is not None:
                    target.norm.load_state_dict(source.norm.state_dict())
    return folded


def _fold_layer(conv: nn.Module, norm: nn.BatchNorm2d, into: nn.Module) -> None:
    """Set `into` to the convolution equal to `norm(conv(x))` in evaluation mode, computed in double precision."""
    if norm.running_mean is None or norm.running_var is None:
        raise OptionError("a batch norm without running statistics cannot be folded", hint="train with statistics")
    scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    shift = norm.bias.double() - norm.running_mean.double() * scale
    start = 0
    for source, target in zip(convolutions(conv), convolutions(into), strict=True):
        part = slice(start, start + source.weight.shape[0])
        target.weight.copy_(source.weight.double() * scale[part].reshape(-1, 1, 1, 1))
        if target.bias is not None:
            target.bias.copy_(shift[part])
        start = part.stop
