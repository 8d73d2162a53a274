"""Torch modules of one unit of a plan, with torchvision's parameter names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, cast

import torch
from torch import Tensor, cat, nn, split
from torch.nn import functional

from mnv2search.model.depthwise import depthwise
from mnv2search.spec.model_spec import BatchNorm
from mnv2search.spec.plan import GROUP_NORM_GROUPS, Layer, Shortcut, Unit

# Only these two run in place, as in torchvision: the backward pass of the others needs their input.
ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "relu6": lambda: nn.ReLU6(inplace=True),
    "relu": lambda: nn.ReLU(inplace=True),
    "hard_swish": nn.Hardswish,
    "silu": nn.SiLU,
    "sigmoid": nn.Sigmoid,
    "hard_sigmoid": nn.Hardsigmoid,
}


class BoundLayer(NamedTuple):
    """A layer of the plan with its `nn.Conv2d`, `SplitConv2d` or `nn.Linear`, and the norm after it, or None."""

    layer: Layer
    conv: nn.Module
    norm: nn.Module | None

    @classmethod
    def of(cls, layer: Layer, modules: Iterable[nn.Module]) -> BoundLayer:
        """The layer with the modules of `conv_norm_act`."""
        conv, *rest = modules
        return cls(layer, conv, rest[0] if layer.normalizer != "none" else None)


class PaddedConv2d(nn.Conv2d):
    """A convolution with unequal padding at opposite sides."""

    def __init__(self, layer: Layer, *, groups: int) -> None:
        sides = (layer.c_in, layer.c_out, layer.kernel, layer.stride)
        super().__init__(*sides, 0, layer.dilation, groups, layer.bias)
        self.pad = layer.pad

    def forward(self, x: Tensor) -> Tensor:
        """The convolution of the padded map."""
        return super().forward(functional.pad(x, (self.pad.left, self.pad.right, self.pad.top, self.pad.bottom)))


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution with equal padding on all sides and fast gradients on CPUs."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve a feature map."""
        if not self.training or not torch.is_grad_enabled() or torch.is_autocast_enabled(x.device.type):
            return super().forward(x)
        (stride, _), (pad, _) = self.stride, cast(tuple[int, int], self.padding)
        return depthwise(x, self.weight, stride=stride, pad=pad)


class SplitConv2d(nn.Module):
    """A 1x1 convolution in unequal parts: part i reads only the i-th slice of the channels.

    Source: tensorflow/models, research/slim/nets/mobilenet/conv_blocks.py, `split_conv`.
    """

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.sizes = [c_in for c_in, _ in layer.parts]
        self.parts = nn.ModuleList(nn.Conv2d(c_in, c_out, 1, bias=layer.bias) for c_in, c_out in layer.parts)

    def forward(self, x: Tensor) -> Tensor:
        """The concatenated outputs of the parts."""
        slices = split(x, self.sizes, dim=1)
        return cat([part(piece) for part, piece in zip(self.parts, slices, strict=True)], dim=1)


class SqueezeExcite(nn.Module):
    """A module that scales every channel by a gate computed from the pooled map, with torchvision's parameter names.

    Source: torchvision, ops/misc.py, `SqueezeExcitation`; tensorflow/models, conv_blocks.py, `squeeze_excite`.
    """

    def __init__(self, squeeze: Layer, excite: Layer) -> None:
        super().__init__()
        self.fc1 = convolution(squeeze)
        self.fc2 = convolution(excite)
        self.activation = ACTIVATIONS[squeeze.activation]()
        self.gate = ACTIVATIONS[excite.activation]()

    def forward(self, x: Tensor) -> Tensor:
        """The gated map, of the same shape."""
        pooled = functional.adaptive_avg_pool2d(x, 1)
        return cast(Tensor, x * self.gate(self.fc2(self.activation(self.fc1(pooled)))))


def convolution(layer: Layer) -> nn.Module:
    """The convolution of a layer, without norm and activation; an even split is a grouped convolution."""
    if len(set(layer.parts)) > 1:
        return SplitConv2d(layer)
    groups = len(layer.parts) or layer.groups
    if not layer.pad.is_even:
        return PaddedConv2d(layer, groups=groups)
    sides, pad = (layer.c_in, layer.c_out, layer.kernel, layer.stride), (layer.pad.top, layer.pad.left)
    is_plain = layer.role == "depthwise" and groups == layer.c_in == layer.c_out and layer.dilation == 1
    made = DepthwiseConv2d if is_plain and pad[0] == pad[1] and not layer.bias else nn.Conv2d
    return made(*sides, pad, layer.dilation, groups, layer.bias)


def convolutions(conv: nn.Module) -> tuple[nn.Conv2d | nn.Linear, ...]:
    """The plain convolutions in a layer's module: its parts, or the module itself."""
    if isinstance(conv, SplitConv2d):
        return tuple(cast(nn.Conv2d, part) for part in conv.parts)
    return (cast(nn.Conv2d, conv),)


def conv_norm_act(layer: Layer, batch_norm: BatchNorm) -> list[nn.Module]:
    """The convolution, norm and activation of a layer, as far as the layer has them."""
    modules = [convolution(layer)]
    if layer.normalizer == "batch":
        modules.append(nn.BatchNorm2d(layer.c_out, eps=batch_norm.eps, momentum=batch_norm.momentum))
    elif layer.normalizer == "group":
        modules.append(nn.GroupNorm(GROUP_NORM_GROUPS, layer.c_out))
    if layer.activation != "none":
        modules.append(ACTIVATIONS[layer.activation]())
    return modules


class Block(nn.Module):
    """One inverted residual or fused block.

    To match torchvision's parameter names, the projection's modules are directly in `conv`, and those of every other
    layer in a separate sequence.

    Source: torchvision, models/mobilenetv2.py, `InvertedResidual`.
    """

    def __init__(self, unit: Unit, batch_norm: BatchNorm) -> None:
        super().__init__()
        self.layers = unit.layers
        self.shortcut: Shortcut = unit.shortcut
        self.stride = unit.stride
        self.new_channels = unit.c_out - unit.c_in
        modules: list[nn.Module] = []
        # Index in `conv` -> name of the tensor after it; and the index of the first module of each layer.
        self.taps: dict[int, str] = {}
        self.starts: list[int] = []
        for layer in unit.layers:
            self.starts.append(len(modules))
            if layer.role == "squeeze":
                squeeze = layer
            elif layer.role == "excite":
                modules.append(SqueezeExcite(squeeze, layer))
            elif layer.role == "projection":
                modules += conv_norm_act(layer, batch_norm)
            else:
                self.taps[len(modules)] = f"{layer.role}_output"
                modules.append(nn.Sequential(*conv_norm_act(layer, batch_norm)))
        self.conv = nn.Sequential(*modules)

    def forward(self, x: Tensor) -> Tensor:
        """The block's output for a map of shape (N, C, H, W)."""
        y = cast(Tensor, self.conv(x))
        return y if self.shortcut == "none" else y + carried(x, self.shortcut, self.stride, self.new_channels)

    def endpoints(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The block's output, and the tensors inside it by their names."""
        named: dict[str, Tensor] = {}
        y = x
        for index, module in enumerate(self.conv):
            y = module(y)
            if name := self.taps.get(index):
                named[name] = y
        if self.shortcut != "none":
            y = y + carried(x, self.shortcut, self.stride, self.new_channels)
        named["output"] = y
        return y, named

    def bound(self) -> tuple[BoundLayer, ...]:
        """The block's layers with their modules."""
        found: list[BoundLayer] = []
        for layer, start in zip(self.layers, self.starts, strict=True):
            module = self.conv[start]
            if isinstance(module, SqueezeExcite):
                conv = module.fc1 if layer.role == "squeeze" else module.fc2
                found.append(BoundLayer(layer, conv, None))
            else:
                parts = list(self.conv)[start:] if layer.role == "projection" else list(cast(nn.Sequential, module))
                found.append(BoundLayer.of(layer, parts))
        return tuple(found)


def carried(x: Tensor, shortcut: Shortcut, stride: int, new_channels: int) -> Tensor:
    """The input as added by a shortcut, average-pooled to the new size and zero-padded in channels if needed."""
    if shortcut == "pad":
        if stride > 1:
            x = functional.avg_pool2d(x, stride, ceil_mode=True, count_include_pad=False)
        x = functional.pad(x, (0, 0, 0, 0, 0, new_channels))
    return x
