"""The classifier on pooled features."""

from __future__ import annotations

from torch import nn

from mnv2search.spec.plan import Unit


def classifier(unit: Unit, *, dropout: float) -> nn.Sequential:
    """Dropout and a linear layer with bias, for pooled features of shape (N, C).

    Source: torchvision, models/mobilenetv2.py, `MobileNetV2.classifier`, for the parameter names.
    """
    layer = unit.layers[0]
    return nn.Sequential(nn.Dropout(dropout), nn.Linear(layer.c_in, layer.c_out))
