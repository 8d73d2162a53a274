"""The running mean of a model's weights, and how fast batch norm forgets."""

from __future__ import annotations

import torch
from torch import nn

# Batch norm's running figures forget over a window of this share of the steps at most: with slim's momentum of 0.003
# a training of a few hundred steps would be evaluated with the figures of its beginning.
NORM_WINDOW = 0.05


class RunningMean:
    """Moves the running mean of a model's weights and of its batch norms' figures.

    The mean is changed in place; the tensors of the model have to stay where they are.
    """

    def __init__(self, averaged: nn.Module, model: nn.Module) -> None:
        mean, new = averaged.state_dict(), model.state_dict()  # made once: it takes longer than moving the mean
        real = [name for name, tensor in mean.items() if tensor.is_floating_point()]
        counts = [name for name in mean if name not in set(real)]
        self._mean, self._new = [mean[n] for n in real], [new[n] for n in real]
        self._mean_counts, self._new_counts = [mean[n] for n in counts], [new[n] for n in counts]

    @torch.no_grad()
    def move(self, decay: float) -> None:
        """One step towards the model; counts are taken over."""
        torch._foreach_lerp_(self._mean, self._new, 1 - decay)
        if self._mean_counts:  # networks without batch norm count nothing
            torch._foreach_copy_(self._mean_counts, self._new_counts)


def set_momentum(model: nn.Module, steps: int) -> None:
    """Let batch norm forget over a share of the steps at most."""
    least = min(1.0, 1 / (NORM_WINDOW * steps))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.momentum is not None and module.momentum < least:
            module.momentum = least


def set_dropout(model: nn.Module, share: float | None) -> None:
    """Drop this share before the classifier; None leaves the model's own."""
    if share is not None:
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = share
