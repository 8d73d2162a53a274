"""Recalibration of batch norm's running statistics for networks with shared weights."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


@torch.no_grad()
def recalibrate(model: nn.Module, batches: Iterable[Tensor]) -> nn.Module:
    """Set the batch norms' statistics of a model to the mean of some batches (N, 3, S, S); the model, in eval mode.

    Shared weights have no statistics that suit every network: without this, a member of a supernet ranks no better
    than by chance.

    Source: Yu et al., arXiv 1903.05134, section 3.2.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    dropped = [module for module in model.modules() if isinstance(module, nn.Dropout)]
    model.train()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches
    for module in dropped:
        module.eval()
    for images in batches:
        model(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return model.eval()
