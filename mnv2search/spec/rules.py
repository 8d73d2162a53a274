"""Every rule that a valid spec obeys, as generators of problems with an address and a fix."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import get_args

from mnv2search.errors import Problem, nearest
from mnv2search.spec import model_spec as ms
from mnv2search.spec.heads import rules as head_rules
from mnv2search.spec.heads.rules import DECODER_STRIDES, MAX_CHANNELS, MAX_LISTED
from mnv2search.spec.names import name_problem

__all__ = [
    "BOOLEANS",
    "CHOICES",
    "ENUMERATED",
    "INTEGERS",
    "LISTS",
    "MAX_CHANNELS",
    "MAX_LISTED",
    "MAX_RESOLUTION",
    "MAX_UNITS",
    "OPTIONAL",
    "OUTPUT_STRIDES",
    "REALS",
    "STRIDES",
    "TEXTS",
    "field_problem",
    "problems",
]

MAX_UNITS = 512
MAX_RESOLUTION = 4096
# Characters of a word that are compared with the known ones.
MAX_WORD = 120
OUTPUT_STRIDES = (2, 4, 8, 16, 32)
STRIDES = (1, 2)
# Numbers of which only a few are taken, and what to write in their place.
ENUMERATED: Mapping[str, tuple[tuple[int, ...], str]] = {
    "stride": (STRIDES, "use 1 to keep the resolution or 2 to halve it"),
    "output_stride": (OUTPUT_STRIDES, "use 2, 4, 8, 16 or 32"),
    "decoder_stride": (DECODER_STRIDES, "use 2, 4, 8 or 16, or leave it out"),
}

# field -> (smallest, largest); the largest keeps a plan within memory.
INTEGERS: Mapping[type, Mapping[str, tuple[int, int]]] = {
    ms.Stem: {"channels": (1, MAX_CHANNELS), "kernel": (1, 31), "stride": (1, 2)},
    **head_rules.INTEGERS,
    ms.BatchNorm: {},
    ms.BlockSpec: {
        "channels": (1, MAX_CHANNELS),
        "repeats": (1, MAX_UNITS),
        "stride": (1, 2),
        "kernel": (1, 31),
        "dilation": (1, 64),
        "expand_to": (1, MAX_CHANNELS),
        "expand_divisor": (1, 1024),
        "split_expansion": (1, 64),
        "split_projection": (1, 64),
        "split_divisor": (1, 1024),
        "depthwise_multiplier": (1, 64),
    },
    ms.ModelSpec: {
        "resolution": (1, MAX_RESOLUTION),
        "last_channels": (1, MAX_CHANNELS),
        "channel_divisor": (1, 1024),
        "min_channels": (1, MAX_CHANNELS),
        "output_stride": (1, 4096),
    },
}

# field -> (smallest, largest, whether the smallest itself is excluded)
REALS: Mapping[type, Mapping[str, tuple[float, float, bool]]] = {
    ms.Stem: {},
    **head_rules.REALS,
    ms.BatchNorm: {"eps": (0.0, 1.0, True), "momentum": (0.0, 1.0, True)},
    ms.BlockSpec: {"expansion": (1.0, 64.0, False)},
    ms.ModelSpec: {"width": (0.0, 100.0, True)},
}

CHOICES: Mapping[type, Mapping[str, tuple[str, ...]]] = {
    ms.Stem: {},
    **head_rules.CHOICES,
    ms.BatchNorm: {},
    ms.BlockSpec: {
        "operator": get_args(ms.Operator),
        "residual": get_args(ms.Residual),
        "transform": get_args(ms.Transform),
        "depthwise_location": get_args(ms.DepthwiseLocation),
        "activation": get_args(ms.Activation),
        "depthwise_activation": get_args(ms.Activation),
        "projection_activation": get_args(ms.Activation),
        "normalizer": get_args(ms.Normalizer),
        "padding": get_args(ms.Padding),
    },
    ms.ModelSpec: {
        "keep_last": get_args(ms.KeepLast),
        "padding": get_args(ms.Padding),
        "activation": get_args(ms.Activation),
        "normalizer": get_args(ms.Normalizer),
    },
}

OPTIONAL: Mapping[type, frozenset[str]] = {
    ms.Stem: frozenset(),
    **head_rules.OPTIONAL,
    ms.BatchNorm: frozenset(),
    ms.BlockSpec: frozenset({"expand_to", "activation", "depthwise_activation", "normalizer", "padding"}),
    ms.ModelSpec: frozenset({"last_channels", "min_channels", "output_stride"}),
}

BOOLEANS: Mapping[type, frozenset[str]] = {
    ms.Stem: frozenset(),
    **head_rules.BOOLEANS,
    ms.BatchNorm: frozenset(),
    ms.BlockSpec: frozenset(),
    ms.ModelSpec: frozenset({"keep_stem"}),
}

# Fields of heads that are lists, with the fewest entries; and fields of free text. Other kinds have neither.
LISTS = head_rules.LISTS
TEXTS = head_rules.TEXTS

_FIELDS: Mapping[type, tuple[str, ...]] = {
    kind: tuple(f.name for f in fields(kind) if f.name not in {"blocks", "stem", "head", "batch_norm", "extras"})
    for kind in INTEGERS
}

Value = ms.ModelSpec | ms.BlockSpec | ms.Stem | ms.Head | ms.ExtraLayer | ms.BatchNorm


def problems(value: Value) -> Iterator[Problem]:
    """The broken rules of `value`, each with an address relative to it.

    >>> from mnv2search.spec.model_spec import Stem
    >>> list(problems(Stem()))
    []
    """
    broken = False
    for problem in _field_problems(value):
        broken = True
        yield problem
    if broken:
        return
    if isinstance(value, ms.BlockSpec):
        yield from _block_problems(value)
    elif isinstance(value, ms.ModelSpec):
        yield from _model_problems(value)
    elif isinstance(value, ms.SsdLite | ms.DeepLab):
        yield from head_rules.problems(value)


def _field_problems(value: Value) -> Iterator[Problem]:
    kind = type(value)
    for name in _FIELDS[kind]:
        if name in LISTS.get(kind, {}):
            yield from _list_problems(kind, name, getattr(value, name))
        elif name == "resolution" and isinstance(getattr(value, name), tuple):
            yield from _size_problems(getattr(value, name))
        elif (problem := field_problem(kind, name, getattr(value, name))) is not None:
            yield problem


def _size_problems(size: tuple[object, ...]) -> Iterator[Problem]:
    """What is wrong with a resolution of a height and a width."""
    if len(size) != 2 or size[0] == size[1]:
        fix = "give a height and a width" if len(size) != 2 else f"write {_shown(size[0])}, the side of the square"
        yield Problem(at="resolution", what=f"resolution is {_shown(size)}", fix=fix)
        return
    for name, side in zip(("height", "width"), size, strict=True):
        if (problem := field_problem(ms.ModelSpec, "resolution", side)) is not None:
            at = f"resolution.{name}"
            yield Problem(at=at, what=f"{name} is {_shown(side)}", fix=problem.fix)


def _list_problems(kind: type, name: str, values: tuple[object, ...]) -> Iterator[Problem]:
    if not LISTS[kind][name] <= len(values) <= MAX_LISTED:
        yield list_length_problem(kind, name, len(values))
        return
    for number, entry in enumerate(values):
        if (problem := field_problem(kind, name, entry)) is not None:
            yield Problem(at=f"{name}[{number}]", what=problem.what, fix=problem.fix)


def list_length_problem(kind: type, name: str, length: int) -> Problem:
    """The problem of a list with too few or too many entries."""
    return Problem(
        at=name, what=f"{name} has {length} entries", fix=f"write {LISTS[kind][name]} to {MAX_LISTED} entries"
    )


def field_problem(kind: type, name: str, value: object) -> Problem | None:
    """What is wrong with one field on its own, or with one entry of a field that is a list; or None.

    Args:
        kind: the class that has the field, such as `BlockSpec`.
        name: the field.
        value: its value, of any type.

    >>> field_problem(ms.BlockSpec, "stride", 3).fix
    'use 1 to keep the resolution or 2 to halve it'
    """
    if value is None and name in OPTIONAL[kind]:
        return None
    if (integers := INTEGERS[kind].get(name)) is not None:
        return _integer_problem(name, value, *integers)
    if (reals := REALS[kind].get(name)) is not None:
        return _real_problem(name, value, *reals)
    if (choices := CHOICES[kind].get(name)) is not None:
        if value in choices:
            return None
        near = nearest(str(value)[:MAX_WORD], choices)
        fix = f"did you mean {' or '.join(near)}?" if near else f"use one of {', '.join(choices)}"
        return Problem(at=name, what=f"{name} is {_shown(value)}", fix=fix)
    if name in BOOLEANS[kind] and type(value) is not bool:
        return Problem(at=name, what=f"{name} is {_shown(value)}", fix="write true or false")
    if (pattern := TEXTS.get(kind, {}).get(name)) is not None and not (
        isinstance(value, str) and pattern.fullmatch(value)
    ):
        return Problem(at=name, what=f"{name} is {_shown(value)}", fix=head_rules.ENDPOINT_FIX)
    return name_problem(value) if name == "name" else None


def _integer_problem(name: str, value: object, low: int, high: int) -> Problem | None:
    fix = ""
    if name in ENUMERATED:
        fix = "" if type(value) is int and value in ENUMERATED[name][0] else ENUMERATED[name][1]
    elif type(value) is not int or not low <= value <= high:
        fix = f"write a whole number from {low} to {high}"
    elif name.endswith("kernel") and value % 2 == 0:
        fix = f"use an odd kernel such as {value - 1} or {value + 1}"
    return Problem(at=name, what=f"{name} is {_shown(value)}", fix=fix) if fix else None


def _real_problem(name: str, value: object, least: float, most: float, is_open: bool) -> Problem | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and least <= value <= most and not (is_open and value == least):  # type: ignore[operator]
        return None
    fix = (
        f"write a number above {least:g} and up to {most:g}"
        if is_open
        else f"write a number from {least:g} to {most:g}"
    )
    return Problem(at=name, what=f"{name} is {_shown(value)}", fix=fix)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


def _block_problems(block: ms.BlockSpec) -> Iterator[Problem]:
    if block.stride > 1 and block.dilation > 1:
        yield Problem(
            at="dilation",
            what=f"dilation is {block.dilation} in a row of stride {block.stride}",
            fix="a convolution cannot do both: put the stride in a row of its own, or set output_stride",
        )
    if block.depthwise_location == "none" and block.operator == "inverted_residual":
        if block.stride > 1:
            yield Problem(
                at="stride",
                what=f"stride is {block.stride} where depthwise_location is none",
                fix="only the depthwise carries the stride: without one nothing is halved; use stride 1",
            )
        if block.dilation > 1:
            yield Problem(
                at="dilation",
                what=f"dilation is {block.dilation} where depthwise_location is none",
                fix="only the depthwise is dilated; use dilation 1",
            )
    if block.depthwise_location == "none" and block.depthwise_multiplier > 1:
        yield Problem(
            at="depthwise_multiplier",
            what=f"depthwise_multiplier is {block.depthwise_multiplier} where depthwise_location is none",
            fix="use 1, or give the depthwise a location",
        )
    if block.operator == "fused":
        yield from _fused_problems(block)
    if block.transform != "none" and block.depthwise_location != "expansion" and block.operator != "fused":
        yield Problem(
            at="transform",
            what=f"transform is {block.transform} where depthwise_location is {block.depthwise_location}",
            fix="a transform stands after the depthwise of the hidden tensor: use depthwise_location expansion",
        )


def _fused_problems(block: ms.BlockSpec) -> Iterator[Problem]:
    if block.expansion == 1 and block.expand_to is None:
        yield Problem(
            at="operator",
            what="operator is fused in a row of expansion 1",
            fix="the fused convolution is the expansion: use an expansion above 1",
        )
    if block.depthwise_location not in ("expansion", "none"):
        yield Problem(
            at="depthwise_location",
            what=f"depthwise_location is {block.depthwise_location} in a fused row",
            fix="a fused row has no depthwise: leave depthwise_location out",
        )
    for name in ("split_expansion", "split_projection", "depthwise_multiplier"):
        if getattr(block, name) != 1:
            yield Problem(
                at=name,
                what=f"{name} is {getattr(block, name)} in a fused row",
                fix="it has no effect there; use 1",
            )


def _model_problems(spec: ms.ModelSpec) -> Iterator[Problem]:
    if not spec.blocks:
        yield Problem(at="blocks", what="blocks is empty", fix="write at least one row")
        return
    units = sum(b.repeats for b in spec.blocks) + 2
    if units > MAX_UNITS:
        yield Problem(
            at="blocks",
            what=f"the rows make {units} layers",
            fix=f"use fewer repeats: at most {MAX_UNITS} are planned",
        )
        return
    found = list(_output_stride_problems(spec, spec.output_stride)) if spec.output_stride is not None else []
    yield from found
    if isinstance(spec.head, ms.SsdLite | ms.DeepLab) and not found:
        yield from head_rules.place_problems(spec, spec.head)
    yield from _shape_problems(spec)


def _output_stride_problems(spec: ms.ModelSpec, target: int) -> Iterator[Problem]:
    total = spec.stem.stride * math.prod(b.stride for b in spec.blocks)
    if target > total:
        yield Problem(
            at="output_stride",
            what=f"output_stride is {target}, but the strides multiply to {total} only",
            fix=f"use {total} or less, or leave it out",
        )
    reached, rate = spec.stem.stride, 1
    for number, block in enumerate(spec.blocks):
        before = rate
        if reached == target:
            rate *= block.stride
        else:
            reached *= block.stride
        if block.dilation > 1 and max(before, rate if block.repeats > 1 else 1) > 1:
            yield Problem(
                at=f"blocks[{number}].dilation",
                what=f"dilation is {block.dilation} in a row that output_stride dilates by {rate}",
                fix="leave one of the two out",
            )


def _shape_problems(spec: ms.ModelSpec) -> Iterator[Problem]:
    """Problems that only the walk over the layers can see; the walk is skipped where there can be none."""
    from mnv2search.spec.plan import width_problems

    plain = (
        not isinstance(spec.head, ms.SsdLite | ms.DeepLab)
        and spec.padding != "valid"
        and all(
            b.split_expansion == b.split_projection == 1 and b.padding != "valid" and b.normalizer != "group"
            for b in spec.blocks
        )
    )
    widest = max(
        *(b.channels * max(b.expansion, 1) * b.depthwise_multiplier for b in spec.blocks),
        spec.stem.channels,
        spec.last_channels or 1,
    )
    small = widest * max(spec.width, 1.0) + spec.channel_divisor + (spec.min_channels or 0) * 64 < MAX_CHANNELS
    if not (plain and small and spec.normalizer != "group"):
        yield from width_problems(spec)
