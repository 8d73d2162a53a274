"""The base class of the heads of detectors and segmenters: units that read endpoints and other units."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from mnv2search.model.blocks import BoundLayer, conv_norm_act
from mnv2search.spec.model_spec import BatchNorm
from mnv2search.spec.plan import Plan, Unit

# Number of logits that are upsampled at once: 256 MB.
MOST_VALUES = 2**26


class HeadUnit(nn.Module):
    """The layers of one unit of a head, each a sequence of convolution, norm and activation."""

    def __init__(self, unit: Unit, batch_norm: BatchNorm, *, dropout: float) -> None:
        super().__init__()
        self.unit = unit
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(nn.Sequential(*conv_norm_act(layer, batch_norm)) for layer in unit.layers)

    def forward(self, inputs: list[Tensor]) -> Tensor:
        """The unit's output for its inputs, maps of shape (N, C, H, W)."""
        largest = max((tuple(x.shape[-2:]) for x in inputs), key=lambda size: size[0] * size[1])
        y = torch.cat([enlarged(x, largest) for x in inputs], dim=1) if len(inputs) > 1 else inputs[0]
        if self.unit.kind == "pooling":
            y = functional.adaptive_avg_pool2d(y, 1)
        for layer in self.layers:
            y = layer(y)
        y = cast(Tensor, self.dropout(y))
        return y.expand(-1, -1, *largest) if self.unit.kind == "pooling" else y

    def bound(self) -> Iterator[BoundLayer]:
        """Every layer with its modules."""
        for layer, module in zip(self.unit.layers, self.layers, strict=True):
            yield BoundLayer.of(layer, cast(nn.Sequential, module))


class DenseHead(nn.Module, ABC):
    """A head built from its plan, with dropout in its join; subclasses compute the network's output."""

    predictor_deviation: float
    """Standard deviation of the normal distribution for initialising predictors."""

    def __init__(self, laid_out: Plan, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.units = nn.ModuleList(
            HeadUnit(unit, laid_out.norm_of(unit), dropout=dropout if unit.kind == "join" else 0.0)
            for unit in laid_out.dense
            if unit.kind != "resize"
        )
        made = {unit.name for unit in laid_out.dense}
        self.wanted = frozenset(name for unit in laid_out.dense for name in unit.reads if name not in made)

    def reset(self) -> None:
        """Set buffers that are neither weights nor statistics."""

    def tensors(self, endpoints: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The output of every unit, by name."""
        found = dict(endpoints)
        for module in self.units:
            unit = cast(HeadUnit, module).unit
            found[unit.name] = module([found[name] for name in unit.reads])
        return {name: tensor for name, tensor in found.items() if name not in endpoints}

    def bound(self) -> Iterator[tuple[int, BoundLayer]]:
        """Every layer with its modules and the index of its unit in the head."""
        for number, module in enumerate(self.units):
            yield from ((number, bound) for bound in cast(HeadUnit, module).bound())

    @abstractmethod
    def predictions(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """The input of a loss, from the outputs of the units."""

    @abstractmethod
    def finished(self, predictions: Tensor, size: tuple[int, int]) -> Tensor:
        """The network's output in the form of the spec's `output`; `size` is the image's height and width."""


def classes_at(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """(H, W) the most likely class of each pixel of an image of this size, from logits (classes, h, w).

    The result is the argmax of `enlarged`, computed one band of rows at a time, because the logits of a large image
    may not fit in memory.
    """
    height, width = size
    rows = max(1, MOST_VALUES // (len(logits) * width))
    if rows >= height:
        return enlarged(logits[None], size).argmax(1)[0]
    bands = []
    at = torch.linspace(0, logits.shape[1] - 1, height, device=logits.device)
    for first in range(0, height, rows):
        band = at[first : first + rows]
        above = band.long()
        below = (above + 1).clamp(max=logits.shape[1] - 1)
        mixed = torch.lerp(logits[:, above], logits[:, below], (band - above)[None, :, None])
        bands.append(enlarged(mixed[None], (len(band), width)).argmax(1)[0])
    return torch.cat(bands)


def enlarged(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """A map resized bilinearly with aligned corners; the same map if it already has this size."""
    if tuple(x.shape[-2:]) == size:
        return x
    return functional.interpolate(x, size=list(size), mode="bilinear", align_corners=True)
