"""Weights shared by all networks of a search space: each network uses a part of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from mnv2search.errors import OptionError
from mnv2search.model.blocks import ACTIVATIONS, carried
from mnv2search.model.build import MobileNet, build
from mnv2search.model.depthwise import depthwise
from mnv2search.spec.layers import NO_PAD
from mnv2search.spec.model_spec import Classifier, ModelSpec
from mnv2search.spec.plan import GROUP_NORM_GROUPS, Layer, Plan, Unit, plan
from mnv2search.spec.space import Axis, Pick, SearchSpace, canonical, origins, resolve

# Deviation of the classifier's weights, as in `mnv2search.model.build.initialize`.
CLASSIFIER_DEVIATION = 0.01

_ACT = {name: make() for name, make in ACTIVATIONS.items()}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Located:
    """A network of a space, with the name of each unit's slot in the shared weights."""

    plan: Plan
    slots: tuple[str, ...]


def located(
    space: SearchSpace, pick: Pick, *, change: Callable[[ModelSpec], ModelSpec] = lambda spec: spec
) -> Located:
    """The network of a pick; the r-th block of a template's row has the r-th slot of the row.

    `change` is applied to the spec before its layout, for example to change the width; it must keep the rows.
    """
    spec = change(resolve(space, pick))
    laid_out = plan(spec)
    rows = origins(space, pick)
    counted: dict[int, int] = {}
    slots: list[str] = []
    for unit, at in zip(laid_out.units, laid_out.at, strict=True):
        if unit.kind != "block":
            slots.append(unit.kind)
            continue
        row = rows[int(at[at.index("[") + 1 : at.index("]")])]
        counted[row] = counted.get(row, -1) + 1
        slots.append(f"row{row}_{counted[row]}")
    return Located(plan=laid_out, slots=tuple(slots))


def smallest_and_largest(space: SearchSpace) -> tuple[Pick, Pick]:
    """The picks with the smallest and the largest option of every numeric axis; other axes take their first."""
    ends = []
    for axis in space.axes:
        # a larger stride makes the network smaller
        sign = -1 if axis.at.endswith("stride") else 1
        values = [sign * option for option in _numbers(axis)]
        ends.append((values.index(min(values)), values.index(max(values))) if values else (0, 0))
    return canonical(space, [least for least, _ in ends]), canonical(space, [most for _, most in ends])


def _numbers(axis: Axis) -> list[float]:
    """The options of a numeric axis; empty for other axes."""
    numbers = [option for option in axis.options if isinstance(option, int | float) and not isinstance(option, bool)]
    return numbers if len(numbers) == len(axis.options) else []


class SharedWeights(nn.Module):
    """The weights of one layer at its largest size; None for weights that the layer does not have."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.depthwise = layer.groups > 1
        ins = 1 if self.depthwise else layer.c_in
        shape = (layer.c_out, ins) if layer.role == "classifier" else (layer.c_out, ins, layer.kernel, layer.kernel)
        self.weight = nn.Parameter(torch.empty(shape))
        self.bias = nn.Parameter(torch.zeros(layer.c_out)) if layer.bias else None
        normed = layer.normalizer != "none"
        self.norm_weight = nn.Parameter(torch.ones(layer.c_out)) if normed else None
        self.norm_bias = nn.Parameter(torch.zeros(layer.c_out)) if normed else None

    def of(self, layer: Layer) -> Tensor:
        """The part of the weights for a layer: the first channels and the centre of the kernel."""
        weight = self.weight[: layer.c_out]
        if layer.groups == 1:
            weight = weight[:, : layer.c_in]
        border = (weight.shape[-1] - layer.kernel) // 2 if weight.ndim == 4 else 0
        return weight[..., border:-border, border:-border] if border else weight


class ElasticNet(nn.Module):
    """A supernet: weights shared by all networks of a space, with the width, depth and kernels of the largest.

    A narrower layer takes the first channels, a smaller kernel the centre, a shallower row its first blocks, and a
    network of another resolution the same weights. Batch norms use the statistics of the batch; for evaluation, a
    network gets separate running statistics, see `member`.

    `change` is applied to every spec, see `located`.

    Raises:
        OptionError: networks of the space have layers whose parts cannot be shared.

    Source: shared slices: Yu et al., arXiv 1812.08928 and 1903.05134; kernels and depth: Cai et al., arXiv
    1908.09791; resolution: Yu et al., arXiv 2003.11142. The last batch norms of residual blocks do not begin at zero
    as there: in trainings of minutes, zeros reduce the rank correlation (0.74 instead of 0.86 after 32,000 images).
    """

    def __init__(
        self, space: SearchSpace, *, change: Callable[[ModelSpec], ModelSpec] = lambda spec: spec, seed: int = 0
    ) -> None:
        super().__init__()
        if space.template.head is not None and not isinstance(space.template.head, Classifier):
            raise OptionError(
                f"{space.name} is not a space of classifiers", hint="give its head classes, or leave the head out"
            )
        self.space, self.change = space, change
        largest: dict[tuple[str, str], Layer] = {}
        for pick in _extreme_picks(space):
            member = located(space, pick, change=change)
            for unit, slot in zip(member.plan.units, member.slots, strict=True):
                for layer in unit.layers:
                    key = (slot, _role(unit, layer))
                    largest[key] = _union(largest.get(key), layer)
        self.slots = nn.ModuleDict()
        for (slot, role), layer in largest.items():
            if slot not in self.slots:
                self.slots[slot] = nn.ModuleDict()
            cast(nn.ModuleDict, self.slots[slot])[role] = SharedWeights(layer)
        self._initialize(seed)

    def place(self, pick: Pick) -> Located:
        """The network of a pick."""
        return located(self.space, pick, change=self.change)

    def forward(self, x: Tensor, network: Located) -> Tensor:
        """Logits (N, classes), or the last map, of images (N, 3, H, W) of the network's resolution."""
        for unit, slot in zip(network.plan.units, network.slots, strict=True):
            weights = cast(nn.ModuleDict, self.slots[slot])
            if unit.kind == "classifier":
                head = cast(SharedWeights, weights["classifier"])
                x = functional.adaptive_avg_pool2d(x, 1).flatten(1)
                classifier = cast(Classifier, network.plan.spec.head)
                x = functional.dropout(x, classifier.dropout, self.training)
                x = functional.linear(x, head.of(unit.layers[0]), head.bias)
            else:
                x = _unit(x, unit, weights, network.plan.spec.batch_norm.eps)
        return x

    def member(self, network: Located) -> MobileNet:
        """A stand-alone network with a copy of its weights; the running statistics of its batch norms are not set."""
        model = build(network.plan, seed=0)
        with torch.no_grad():
            for own, shared in self._pairs(network, model):
                own.copy_(shared)
        return model

    def adopt(self, network: Located, model: MobileNet) -> None:
        """Copy the weights of a stand-alone network into the shared weights; the inverse of `member`."""
        with torch.no_grad():
            for own, shared in self._pairs(network, model):
                shared.copy_(own)

    def _pairs(self, network: Located, model: MobileNet) -> Iterator[tuple[Tensor, Tensor]]:
        """Each weight of a stand-alone network, and the corresponding part of the shared weights."""
        for (index, _), bound in model.bound():
            outputs = slice(bound.layer.c_out)
            weights = cast(nn.ModuleDict, self.slots[network.slots[index]])
            shared = cast(SharedWeights, weights[_role(network.plan.units[index], bound.layer)])
            conv = cast(nn.Conv2d, bound.conv)
            yield conv.weight, shared.of(bound.layer)
            if conv.bias is not None and shared.bias is not None:
                yield conv.bias, shared.bias[outputs]
            if isinstance(bound.norm, nn.BatchNorm2d | nn.GroupNorm):
                assert shared.norm_weight is not None
                assert shared.norm_bias is not None
                yield bound.norm.weight, shared.norm_weight[outputs]
                yield bound.norm.bias, shared.norm_bias[outputs]

    def _initialize(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for roles in self.slots.values():
            for role, module in cast(nn.ModuleDict, roles).items():
                weight = cast(SharedWeights, module).weight
                if role == "classifier":
                    nn.init.normal_(weight, 0.0, CLASSIFIER_DEVIATION, generator=generator)
                else:
                    nn.init.kaiming_normal_(weight, mode="fan_out", generator=generator)


def _role(unit: Unit, layer: Layer) -> str:
    """The name of a layer's weights within its slot; a fused expansion and a pointwise expansion have two names."""
    if unit.block is not None and unit.block.operator == "fused" and layer.role == "expansion":
        return "fused"
    return layer.role


def _extreme_picks(space: SearchSpace) -> Iterator[Pick]:
    """Picks with the largest layers, covering every option of the axes that are not numeric."""
    _, largest = smallest_and_largest(space)
    yield largest
    for index, axis in enumerate(space.axes):
        numbers = _numbers(axis)
        if not numbers:
            for option in range(len(axis.options)):
                yield canonical(space, (*largest[:index], option, *largest[index + 1 :]))
        elif axis.at.endswith(("stride", "expansion")):
            # whether a block adds its input can depend on its having an expansion
            smallest = numbers.index(min(numbers))
            yield canonical(space, (*largest[:index], smallest, *largest[index + 1 :]))


def _union(one: Layer | None, other: Layer) -> Layer:
    """A layer large enough for two layers."""
    if other.parts:
        raise OptionError(
            f"a split {other.role} cannot be shared between networks",
            hint="leave split_expansion and split_projection",
        )
    if one is None:
        return other
    if (one.groups > 1) != (other.groups > 1) and min(one.c_in, other.c_in) > 1:
        raise OptionError(f"one {other.role} is grouped and another is not", hint="make them alike in all networks")
    return one._replace(
        c_in=max(one.c_in, other.c_in),
        c_out=max(one.c_out, other.c_out),
        kernel=max(one.kernel, other.kernel),
        groups=max(one.groups, other.groups),
        bias=one.bias or other.bias,
        normalizer=one.normalizer if one.normalizer != "none" else other.normalizer,
    )


def _unit(x: Tensor, unit: Unit, weights: nn.ModuleDict, eps: float) -> Tensor:
    y, squeezed = x, x
    for layer in unit.layers:
        shared = cast(SharedWeights, weights[_role(unit, layer)])
        if layer.role == "squeeze":
            squeezed = _layer(functional.adaptive_avg_pool2d(y, 1), layer, shared, eps)
        elif layer.role == "excite":
            y = y * _layer(squeezed, layer, shared, eps)
        else:
            y = _layer(y, layer, shared, eps)
    if unit.shortcut == "none":
        return y
    return y + carried(x, unit.shortcut, unit.stride, unit.c_out - unit.c_in)


def _layer(x: Tensor, layer: Layer, shared: SharedWeights, eps: float) -> Tensor:
    """Convolution, norm with the batch's statistics, and activation."""
    pad = layer.pad
    if not pad.is_even:
        x, pad = functional.pad(x, (pad.left, pad.right, pad.top, pad.bottom)), NO_PAD
    bias = shared.bias[: layer.c_out] if layer.bias and shared.bias is not None else None
    if (
        layer.groups > 1
        and layer.groups == layer.c_out
        and layer.dilation == 1
        and bias is None
        and pad.top == pad.left
    ):
        x = depthwise(x, shared.of(layer), stride=layer.stride, pad=pad.top)
    else:
        x = functional.conv2d(
            x, shared.of(layer), bias, layer.stride, (pad.top, pad.left), layer.dilation, layer.groups
        )
    if layer.normalizer != "none":
        assert shared.norm_weight is not None
        assert shared.norm_bias is not None
        scale, shift = shared.norm_weight[: layer.c_out], shared.norm_bias[: layer.c_out]
        if layer.normalizer == "batch":
            x = functional.batch_norm(x, None, None, scale, shift, True, 0.0, eps)
        else:
            x = functional.group_norm(x, GROUP_NORM_GROUPS, scale, shift)
    return x if layer.activation == "none" else cast(Tensor, _ACT[layer.activation](x))
