"""The one walk: rows, width, resolution and output stride become concrete layers.

Nothing else in the package works out a channel count, a size, a padding or a dilation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from mnv2search.errors import Problem, SpecError
from mnv2search.spec.heads.plan import head_units
from mnv2search.spec.layers import NO_PAD, POINT, Layer, Role, Shortcut, Unit, make_divisible, padded
from mnv2search.spec.model_spec import BatchNorm, BlockSpec, Classifier, DeepLab, ModelSpec, SsdLite
from mnv2search.spec.size import Size

__all__ = ["GROUP_NORM_GROUPS", "Layer", "Plan", "Shortcut", "Unit", "make_divisible", "plan", "split_channels"]

# Source: tensorflow/models, mobilenet_v2.py, `mobilenet_base_group_norm`.
GROUP_NORM_GROUPS = 8
# name -> (hidden channels over squeezed channels, gate); Source: slim's squeeze_excite and mobilenet_v3.py.
TRANSFORMS = {"squeeze_excite": (3, "sigmoid"), "squeeze_excite_v3": (4, "hard_sigmoid")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A network laid out: `units[i]` is slim's ``layer_{i + 1}``, after which come those of the head.

    Attributes:
        spec: what was laid out.
        units: in an order in which they can be computed.
        at: address in the spec of each unit, such as ``stem`` or ``blocks[2]``.
    """

    spec: ModelSpec
    units: tuple[Unit, ...]
    at: tuple[str, ...]

    @property
    def features(self) -> tuple[Unit, ...]:
        """The units without the head."""
        if self.spec.head is None:
            return self.units
        if isinstance(self.spec.head, Classifier):
            return self.units[:-1]
        return tuple(unit for unit in self.units if not unit.name)

    @property
    def classifier(self) -> Unit | None:
        """The classifier's unit, or None for another head or none."""
        return self.units[-1] if isinstance(self.spec.head, Classifier) else None

    @property
    def dense(self) -> tuple[Unit, ...]:
        """The units of a detector's or a segmenter's head; empty for a classifier and for a feature extractor."""
        return tuple(unit for unit in self.units if unit.name)

    def norm_of(self, unit: Unit) -> BatchNorm:
        """The batch-norm constants of a unit."""
        if unit.name and isinstance(self.spec.head, DeepLab):
            return replace(self.spec.batch_norm, eps=self.spec.head.norm_eps)
        return self.spec.batch_norm

    def endpoints(self) -> tuple[str, ...]:
        """Names of the tensors that can be asked for, in order of computation.

        Source: tensorflow/models, mobilenet.py, `mobilenet_base`; ``layer_2/expansion_output`` does not exist
        where t is 1.
        """
        return tuple(_endpoints(self))


def plan(spec: ModelSpec) -> Plan:
    """The layers of `spec`.

    >>> from mnv2search.spec.model_spec import BlockSpec, ModelSpec
    >>> p = plan(ModelSpec(name="one", blocks=(BlockSpec(channels=24, stride=2),), resolution=32))
    >>> [(u.kind, u.c_out, str(u.size_out)) for u in p.units]
    [('stem', 32, '16'), ('block', 24, '8'), ('last', 1280, '8'), ('classifier', 1000, '1')]
    """
    units: list[Unit] = []
    at: list[str] = []
    for where, unit in _walk(spec):
        units.append(unit)
        at.append(where)
    return Plan(spec=spec, units=tuple(units), at=tuple(at))


def split_channels(total: int, ways: int, divisor: int) -> tuple[int, ...]:
    """`total` channels cut into `ways` multiples of `divisor`, uneven where they must be.

    >>> split_channels(24, 2, 8), split_channels(40, 3, 8), split_channels(160, 3, 8)
    ((16, 8), (16, 16, 8), (56, 56, 48))

    Source: tensorflow/models, conv_blocks.py, `_split_divisible`.
    """
    base = total // ways // divisor * divisor
    parts: list[int] = []
    for way in range(1, ways + 1):
        missing = total * way / ways - sum(parts) - base
        parts.append(base + divisor * max(0, math.ceil(missing / divisor)))
    return tuple(parts)


def width_problems(spec: ModelSpec) -> Iterator[Problem]:
    """Problems of widths and sizes that show only when the layers are laid out."""
    from mnv2search.spec.rules import MAX_CHANNELS

    try:
        for where, unit in _walk(spec):
            for layer in unit.layers:
                if max(layer.c_in, layer.c_out) > MAX_CHANNELS:
                    yield Problem(
                        at=where,
                        what=f"its {layer.role} has {max(layer.c_in, layer.c_out)} channels",
                        fix=f"at most {MAX_CHANNELS} are planned: use less width, expansion or channels",
                    )
                    return
                if layer.normalizer == "group" and layer.c_out % GROUP_NORM_GROUPS:
                    yield Problem(
                        at=where,
                        what=f"its {layer.role} has {layer.c_out} channels under group norm",
                        fix=f"group norm needs multiples of {GROUP_NORM_GROUPS}: use channel_divisor 8",
                    )
                    return
    except SpecError as error:
        yield from (Problem(at=d.at, what=d.message, fix=d.hint) for d in error.diagnostics)


def _endpoints(laid_out: Plan) -> Iterator[str]:
    for number, unit in enumerate(laid_out.features, start=1):
        if unit.kind == "block":
            for layer in unit.layers:
                if layer.role in ("expansion", "depthwise"):
                    yield f"layer_{number}/{layer.role}_output"
            yield f"layer_{number}/output"
        yield f"layer_{number}"
    if laid_out.classifier is not None:
        yield from ("global_pool", "logits")
    yield from (unit.name for unit in laid_out.dense)


def _walk(spec: ModelSpec) -> Iterator[tuple[str, Unit]]:
    """Every unit with its address; the state of slim's output-stride loop lives here."""
    target, reached, rate = spec.output_stride, 1, 1
    width, divisor = spec.width, spec.channel_divisor
    least = spec.head.min_channels if isinstance(spec.head, SsdLite) else divisor
    minimum = least if spec.min_channels is None else spec.min_channels
    common = (spec.activation, spec.normalizer, spec.padding)

    def placed(stride: int) -> tuple[int, int]:
        """Stride and dilation to build with. Source: slim's `mobilenet_base`: dilation first, then the rate."""
        nonlocal reached, rate
        if target is not None and reached == target:
            dilation, rate = rate, rate * stride
            return 1, dilation
        reached *= stride
        return stride, 1

    stem = spec.stem
    channels = stem.channels if spec.keep_stem else make_divisible(stem.channels * width, divisor, minimum)
    stride, dilation = placed(stem.stride)
    unit = _plain_unit("stem", 3, channels, stem.kernel, stride, dilation, spec.size, *common)
    yield "stem", unit
    features = [unit]
    for row, block in enumerate(spec.blocks):
        c_out = make_divisible(block.channels * width, divisor, minimum)
        for repeat in range(block.repeats):
            stride, dilation = placed(block.stride if repeat == 0 else 1)
            if dilation == 1:
                dilation = block.dilation
            try:
                unit = _block_unit(block, unit.c_out, c_out, stride, dilation, unit.size_out, *common)
            except SpecError as error:
                problems = (
                    Problem(at=f"blocks[{row}].{d.at}", what=d.message, fix=d.hint) for d in error.diagnostics
                )
                raise SpecError.from_problems(problems) from None
            features.append(unit)
            yield f"blocks[{row}]", unit
    if spec.last_channels is not None:
        kept = spec.keep_last == "always" or (spec.keep_last == "auto" and width < 1)
        channels = spec.last_channels if kept else make_divisible(spec.last_channels * width, divisor, minimum)
        unit = _plain_unit("last", unit.c_out, channels, 1, 1, 1, unit.size_out, *common)
        features.append(unit)
        yield "last_channels", unit
    if isinstance(spec.head, Classifier):
        yield "head", _classifier_unit(unit.c_out, spec.head.classes, unit.size_out)
    elif spec.head is not None:
        yield from head_units(spec, spec.head, features)


@lru_cache(maxsize=4096)
def _plain_unit(
    kind: Literal["stem", "last"],
    c_in: int,
    c_out: int,
    kernel: int,
    stride: int,
    dilation: int,
    size: Size,
    activation: str,
    normalizer: str,
    padding: str,
) -> Unit:
    pad, out = padded(padding, size, kernel, stride, dilation)
    layer = Layer(
        kind,
        c_in,
        c_out,
        kernel,
        stride,
        dilation,
        1,
        (),
        pad,
        size,
        out,
        normalizer == "none",
        normalizer,
        activation,
    )
    return Unit(kind, (layer,), c_in, c_out, size, out, stride, "none", None)


@lru_cache(maxsize=4096)
def _classifier_unit(c_in: int, classes: int, size: Size) -> Unit:
    layer = Layer("classifier", c_in, classes, 1, 1, 1, 1, (), NO_PAD, POINT, POINT, True, "none", "none")
    return Unit("classifier", (layer,), c_in, classes, size, POINT, 1, "none", None)


@lru_cache(maxsize=16_384)
def _block_unit(
    block: BlockSpec,
    c_in: int,
    c_out: int,
    stride: int,
    dilation: int,
    size: Size,
    activation: str,
    normalizer: str,
    padding: str,
) -> Unit:
    """One block. Source: tensorflow/models, conv_blocks.py, `expanded_conv`, step by step."""
    layers = _block_layers(
        block,
        c_in,
        c_out,
        stride,
        dilation,
        size,
        block.activation or activation,
        block.normalizer or normalizer,
        block.padding or padding,
    )
    final, size_out = layers[-1].c_out, layers[-1].size_out
    shortcut: Shortcut = "none"
    if block.residual == "pad" and final >= c_in and size_out == size.strided(stride):
        shortcut = "identity" if stride == 1 and final == c_in else "pad"
    elif block.residual == "auto" and stride == 1 and final == c_in:
        shortcut = "identity"
    if shortcut == "identity" and size_out != size:
        raise SpecError.from_problems(
            [
                Problem(
                    at="residual",
                    what=f"padding valid shrinks the map from {size} to {size_out} px, so the input cannot be added",
                    fix="write residual: off, or use padding symmetric",
                )
            ]
        )
    return Unit("block", layers, c_in, final, size, size_out, stride, shortcut, block)


def _block_layers(
    block: BlockSpec,
    c_in: int,
    c_out: int,
    stride: int,
    dilation: int,
    size: Size,
    activation: str,
    normalizer: str,
    padding: str,
) -> tuple[Layer, ...]:
    layers: list[Layer] = []
    location = block.depthwise_location
    fused = block.operator == "fused"
    bias = normalizer == "none"
    depth = c_in
    hidden = block.expand_to or (
        c_in if block.expansion == 1 else make_divisible(c_in * block.expansion, block.expand_divisor)
    )

    def depthwise(after: str) -> None:
        nonlocal depth, size
        pad, out = padded(padding, size, block.kernel, stride, dilation)
        wide = depth * block.depthwise_multiplier
        layers.append(
            Layer(
                "depthwise",
                depth,
                wide,
                block.kernel,
                stride,
                dilation,
                depth,
                (),
                pad,
                size,
                out,
                bias,
                normalizer,
                after,
            )
        )
        depth, size = wide, out

    def pointwise(role: Role, outputs: int, ways: int, after: str) -> None:
        nonlocal depth
        parts = _split(depth, outputs, ways, block.split_divisor, f"split_{role}")
        layers.append(Layer(role, depth, outputs, 1, 1, 1, 1, parts, NO_PAD, size, size, bias, normalizer, after))
        depth = outputs

    if location == "input" and not fused:
        depthwise("none")
    if fused:
        pad, out = padded(padding, size, block.kernel, stride, dilation)
        layers.append(
            Layer(
                "expansion",
                c_in,
                hidden,
                block.kernel,
                stride,
                dilation,
                1,
                (),
                pad,
                size,
                out,
                bias,
                normalizer,
                activation,
            )
        )
        depth, size = hidden, out
    elif hidden > depth:
        pointwise("expansion", hidden, block.split_expansion, activation)
    if location == "expansion" and not fused:
        depthwise(block.depthwise_activation or activation)
    if block.transform != "none":
        layers += _gate(depth, block.transform)
    pointwise("projection", c_out, block.split_projection, block.projection_activation)
    if location == "output" and not fused:
        depthwise("none")
    return tuple(layers)


def _gate(channels: int, transform: str) -> tuple[Layer, Layer]:
    """Squeeze and excite: 1x1 convolutions with bias on the pooled tensor. Source: slim's `squeeze_excite`."""
    factor, gate = TRANSFORMS[transform]
    squeezed = make_divisible(channels / factor, 8)
    one = (1, 1, 1, 1, (), NO_PAD, POINT, POINT, True, "none")
    return Layer("squeeze", channels, squeezed, *one, "relu"), Layer("excite", squeezed, channels, *one, gate)


def _split(c_in: int, c_out: int, ways: int, divisor: int, at: str) -> tuple[tuple[int, int], ...]:
    if ways == 1 or min(c_in // ways, c_out // ways) < divisor:
        return ()
    for total in (c_in, c_out):
        if total % divisor:
            raise SpecError.from_problems(
                [
                    Problem(
                        at=at,
                        what=f"{total} channels cannot be split into multiples of {divisor}",
                        fix=f"use widths that are multiples of {divisor}, another split_divisor, or no split",
                    )
                ]
            )
    return tuple(zip(split_channels(c_in, ways, divisor), split_channels(c_out, ways, divisor), strict=True))
