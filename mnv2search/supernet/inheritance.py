"""Initialize a network with the weights of a trained one of different width, depth, kernels or expansion."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from mnv2search.errors import WeightsError
from mnv2search.model.blocks import Block, BoundLayer, convolutions
from mnv2search.model.build import MobileNet, build
from mnv2search.model.elastic import ElasticNet, smallest_and_largest
from mnv2search.model.weights.load import load_weights
from mnv2search.model.weights.network_file import read_network
from mnv2search.model.weights.programs import SUFFIX
from mnv2search.spec.layers import Role
from mnv2search.spec.model_spec import BlockSpec, ModelSpec
from mnv2search.spec.plan import Plan, plan
from mnv2search.spec.space import origins

Map: TypeAlias = Tensor
"""(C,) index in the old network of each channel of the new network, or -1."""
ROW = "blocks["


@dataclass(frozen=True, slots=True, kw_only=True)
class Inheritance:
    """Number of inherited parameters and of all; `new_blocks` have no counterpart and begin close to the identity."""

    inherited: int
    parameters: int
    new_blocks: int
    classifier: bool

    @property
    def share(self) -> float:
        """Share of inherited parameters."""
        return self.inherited / self.parameters


def inherit(new: MobileNet, old: MobileNet) -> Inheritance:
    """Fill a network with the weights of another; weights without counterpart keep their values.

    Rows of the specs correspond in order, and so do the blocks of a row. If the numbers of rows differ, groups
    of rows correspond instead: a row with the channels of the previous row and stride 1 belongs to the same group.

    A narrower network inherits the channels with the largest weights, the same in all blocks of a row; a wider
    network inherits all channels and adds random ones, which later layers do not read at first. Depthwise kernels are
    cropped or padded with zeros. Additional blocks of a row repeat the last block with a zero-initialized last norm,
    so that they begin as the identity.

    Raises:
        WeightsError: the specs have different numbers of rows and of groups of rows.

    Source: channels by the L1 norm of their weights: Li et al., arXiv 1608.08710; zero-initialized last norm: Goyal
    et al., arXiv 1706.02677, section 5.1.
    """
    if not corresponds(new.spec, old.spec):
        raise WeightsError(
            f"{new.spec.name} has {len(new.spec.blocks)} rows of blocks and {old.spec.name} has "
            f"{len(old.spec.blocks)}, in different numbers of groups of rows with equal channels",
            hint="take weights of a network with as many rows",
        )
    with torch.no_grad():
        return _Inheriting(new, old).all()


def network_of(weights: Path, spec: ModelSpec) -> MobileNet:
    """The network of a `.pt` or `.pt2` file of ours, or that of `spec` with published weights.

    Raises:
        WeightsError: the file is missing, or its weights do not fit the spec.
        TrainingError: a file of ours cannot be read.
    """
    if not weights.is_file():
        raise WeightsError(f"{weights} is not a file", hint="check the path of the initial weights")
    if weights.suffix in (".pt", SUFFIX):
        return read_network(weights)
    model = build(spec, seed=0)
    load_weights(model, weights)
    return model


def corresponds(new: ModelSpec, old: ModelSpec) -> bool:
    """Whether a network can inherit from another: both have as many rows, or as many groups of rows."""
    return len(new.blocks) == len(old.blocks) or row_groups(new)[-1:] == row_groups(old)[-1:]


def row_groups(spec: ModelSpec) -> list[int]:
    """The group of each row, counted from 0: a row and the rows after it with the same channels and stride 1."""
    found: list[int] = []
    for number, block in enumerate(spec.blocks):
        goes_on = number > 0 and block.stride == 1 and block.channels == spec.blocks[number - 1].channels
        found.append((found[-1] if found else -1) + (not goes_on))
    return found


def places_of(laid_out: Plan, numbers: Sequence[int]) -> dict[str, list[int]]:
    """Indices of the units without the head, by row number or, outside of rows, by kind."""
    found: dict[str, list[int]] = defaultdict(list)
    for index, (unit, at) in enumerate(zip(laid_out.units, laid_out.at, strict=True)):
        if unit.kind != "classifier" and not unit.name:
            place: str = unit.kind
            if at.startswith(ROW):  # blocks of a row that differ have longer addresses
                place = f"{ROW}{numbers[int(at[len(ROW) : at.index(']')])]}]"
            found[place].append(index)
    return found


class _Inheriting:
    def __init__(self, new: MobileNet, old: MobileNet) -> None:
        by_group = len(new.spec.blocks) != len(old.spec.blocks)
        self.new, self.old = _Layers(new, by_group=by_group), _Layers(old, by_group=by_group)
        self.parameters = sum(p.numel() for p in new.parameters())
        self.inherited = self.new_blocks = 0

    def all(self) -> Inheritance:
        channels = torch.arange(3)
        for place, units in self.new.places.items():
            counterparts = self.old.places.get(place, [])
            if not counterparts:
                channels = torch.full((self.new.width(units[-1]),), -1)
                continue
            channels = self._row(units, counterparts, channels)
        classifier = self._classifier(channels)
        self._dense_head()
        return Inheritance(
            inherited=self.inherited, parameters=self.parameters, new_blocks=self.new_blocks, classifier=classifier
        )

    def _row(self, units: Sequence[int], olds: Sequence[int], entering: Map) -> Map:
        """Fill the blocks of a row; returns the row's output channels, which all of its blocks share."""
        importance = torch.stack([self.old.importance(unit) for unit in olds]).sum(0)
        leaving = _chosen(importance, self.new.width(units[-1]))
        for number, unit in enumerate(units):
            came_in = entering if number == 0 else leaving
            if number < len(olds):
                self._unit(unit, olds[number], came_in, leaving)
                continue
            self.new_blocks += 1
            if len(olds) > 1:
                self._unit(unit, olds[-1], came_in, leaving)
            last = self.new.layers[unit][-1].norm
            if self.new.adds(unit) and isinstance(last, nn.BatchNorm2d | nn.GroupNorm):
                last.weight.zero_()
                last.bias.zero_()
        return leaving

    def _unit(self, unit: int, counterpart: int, entering: Map, leaving: Map) -> None:
        fresh = {bound.layer.role: bound for bound in self.new.layers[unit]}
        kept = {bound.layer.role: bound for bound in self.old.layers[counterpart]}
        if ("expansion" in fresh) != ("expansion" in kept) or fresh.keys() - kept.keys() - {"squeeze", "excite"}:
            return  # with and without expansion, channels do not correspond
        hidden, last = entering, self.new.layers[unit][-1]
        if "depthwise" in fresh and "expansion" in fresh:
            hidden = _chosen(_hidden_importance(kept), fresh["depthwise"].layer.c_out)
        squeezed = hidden
        for bound in self.new.layers[unit]:
            role = bound.layer.role
            if role not in kept:
                continue
            if role == "squeeze":
                squeezed = _chosen(_norms(kept[role]), bound.layer.c_out)
            outs, ins = {
                "expansion": (hidden, entering),
                "depthwise": (hidden, None),
                "squeeze": (squeezed, hidden),
                "excite": (hidden, squeezed),
            }.get(role, (leaving if bound is last else hidden, hidden))
            self._copy(bound, kept[role], outs, ins)

    def _dense_head(self) -> None:
        new, old = self.new.dense, self.old.dense
        if not new or not old or self.new.features != self.old.features:
            return
        for name in new.keys() & old.keys():
            if [bound.layer for bound in new[name]] == [bound.layer for bound in old[name]]:
                for mine, theirs in zip(new[name], old[name], strict=True):
                    self._load(mine.conv, theirs.conv)
                    self._load(mine.norm, theirs.norm)

    def _load(self, target: nn.Module | None, source: nn.Module | None) -> None:
        if target is not None and source is not None:
            target.load_state_dict(source.state_dict())
            self.inherited += sum(p.numel() for p in target.parameters())

    def _classifier(self, channels: Map) -> bool:
        if self.new.classifier is None or self.old.classifier is None:
            return False
        if self.new.classifier.out_features != self.old.classifier.out_features:
            return False
        classes = torch.arange(self.new.classifier.out_features)
        self._fill(self.new.classifier, self.old.classifier, classes, channels)
        return True

    def _copy(self, fresh: BoundLayer, kept: BoundLayer, outs: Map, ins: Map | None) -> None:
        new_parts, old_parts = convolutions(fresh.conv), convolutions(kept.conv)
        if len(new_parts) > 1 or len(old_parts) > 1:
            return  # channels of split convolutions do not correspond
        new, old = new_parts[0], old_parts[0]
        if isinstance(new, nn.Conv2d) and ins is not None and (new.groups > 1 or cast(nn.Conv2d, old).groups > 1):
            return
        self._fill(new, old, outs, ins)
        if isinstance(fresh.norm, nn.BatchNorm2d) and isinstance(kept.norm, nn.BatchNorm2d):
            known, at = outs >= 0, outs.clamp(min=0)
            for name in ("weight", "bias", "running_mean", "running_var"):
                mine, theirs = getattr(fresh.norm, name), getattr(kept.norm, name)
                mine[known] = theirs[at[known]]
            self.inherited += 2 * int(known.sum())

    def _fill(self, new: nn.Conv2d | nn.Linear, old: nn.Conv2d | nn.Linear, outs: Map, ins: Map | None) -> None:
        """Fill weights and bias of a layer; `ins` is None for a depthwise convolution."""
        known_out = outs >= 0
        weight = _resized(old.weight, new.weight.shape[-1]) if new.weight.ndim == 4 else old.weight
        rows = weight[outs.clamp(min=0)]
        known = known_out.view(-1, *[1] * (weight.ndim - 1)).expand_as(new.weight)
        if ins is not None:
            rows = rows[:, ins.clamp(min=0)]
            # zero weights for inputs without counterpart
            rows = rows * (ins >= 0).view(1, -1, *[1] * (weight.ndim - 2))
        new.weight.copy_(torch.where(known, rows, new.weight))
        self.inherited += int(known.sum())
        if new.bias is not None and old.bias is not None:
            new.bias.copy_(torch.where(known_out, old.bias[outs.clamp(min=0)], new.bias))
            self.inherited += int(known_out.sum())


class _Layers:
    def __init__(self, model: MobileNet, *, by_group: bool) -> None:
        self.layers: dict[int, list[BoundLayer]] = defaultdict(list)
        for (unit, _), bound in model.bound():
            self.layers[unit].append(bound)
        self._plan = model.plan
        self.places = places_of(model.plan, row_groups(model.spec) if by_group else range(len(model.spec.blocks)))
        units = model.plan.units
        self.features = [(unit.c_in, unit.c_out, len(unit.layers)) for unit in model.plan.features]
        self.dense = {units[index].name: bound for index, bound in self.layers.items() if units[index].name}
        self.classifier = cast(nn.Linear, model.classifier[1]) if model.plan.classifier is not None else None

    def width(self, unit: int) -> int:
        return self._plan.units[unit].c_out

    def adds(self, unit: int) -> bool:
        return self._plan.units[unit].shortcut == "identity"

    def importance(self, unit: int) -> Tensor:
        return _norms(self.layers[unit][-1])


def _norms(bound: BoundLayer) -> Tensor:
    """(C,) importance of each output of a layer: the mean absolute weight, scaled by the norm."""
    weights = torch.cat([conv.weight.flatten(1).abs().mean(1) for conv in convolutions(bound.conv)])
    if isinstance(bound.norm, nn.BatchNorm2d):
        deviation = (bound.norm.running_var + bound.norm.eps).sqrt() if bound.norm.running_var is not None else 1.0
        weights = weights * bound.norm.weight.abs() / deviation
    return weights


def _hidden_importance(kept: Mapping[Role, BoundLayer]) -> Tensor:
    depthwise = kept["depthwise"]
    found = depthwise.norm.weight.abs() if isinstance(depthwise.norm, nn.BatchNorm2d) else _norms(depthwise)
    projection = convolutions(kept["projection"].conv)
    if len(projection) == 1 and projection[0].weight.shape[1] == len(found):
        found = found * projection[0].weight.flatten(2).abs().sum((0, 2))
    return found


def _chosen(importance: Tensor, count: int) -> Map:
    """The most important channels in ascending order, padded with -1."""
    if count >= len(importance):
        return torch.cat([torch.arange(len(importance)), torch.full((count - len(importance),), -1)])
    return importance.topk(count).indices.sort().values


def _resized(weight: Tensor, kernel: int) -> Tensor:
    border = (kernel - weight.shape[-1]) // 2
    return functional.pad(weight, [border] * 4) if border else weight


def inherit_shared(net: ElasticNet, old: MobileNet) -> Inheritance:
    """Fill shared weights from a trained network; weights without counterpart keep their values.

    The largest network of the space inherits. Then its channels between expansion and projection are sorted by
    importance, which does not change the output: smaller networks take the first channels.

    Raises:
        WeightsError: the space and the network do not correspond, or the repeats of a row have different options.

    Source: channels in order of importance: Cai et al., arXiv 1908.09791, section 3.3.
    """
    _, pick = smallest_and_largest(net.space)
    largest = net.place(pick)
    rows: list[BlockSpec] = []
    for _, group in groupby(
        zip(origins(net.space, pick), largest.plan.spec.blocks, strict=True), key=lambda pair: pair[0]
    ):
        blocks = [block for _, block in group]
        rows.append(blocks[0] if len(blocks) == 1 else replace(blocks[0], repeats=len(blocks)))
    laid_out = plan(replace(largest.plan.spec, blocks=tuple(rows)))
    if [unit.layers for unit in laid_out.units] != [unit.layers for unit in largest.plan.units]:
        raise WeightsError(
            f"the repeats of a row of {net.space.name} differ in their largest options",
            hint="give each repeat of a row the same options",
        )
    alone = build(laid_out, seed=0)
    alone.load_state_dict(net.member(largest).state_dict())
    found = inherit(alone, old)
    for module in alone.features:
        if isinstance(module, Block):
            _put_in_order(module)
    net.adopt(largest, alone)
    return found


@torch.no_grad()
def _put_in_order(block: Block) -> None:
    bound = {b.layer.role: b for b in block.bound()}
    if not {"expansion", "depthwise", "projection"} <= bound.keys() or "squeeze" in bound:
        return
    projection = cast(nn.Conv2d, bound["projection"].conv)
    importance = projection.weight.flatten(2).abs().sum((0, 2))
    norm = bound["depthwise"].norm
    if isinstance(norm, nn.BatchNorm2d):
        importance = importance * norm.weight.abs()
    order = importance.argsort(descending=True, stable=True)
    projection.weight.copy_(projection.weight[:, order])
    for role in ("expansion", "depthwise"):
        tensors: list[Tensor | None] = [
            cast(nn.Conv2d, bound[role].conv).weight,
            cast(nn.Conv2d, bound[role].conv).bias,
        ]
        if isinstance(own := bound[role].norm, nn.BatchNorm2d):
            tensors += [own.weight, own.bias, own.running_mean, own.running_var]
        for tensor in tensors:
            if tensor is not None:
                tensor.copy_(tensor[order])
