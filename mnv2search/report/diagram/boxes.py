"""The boxes of a block diagram: identical consecutive blocks are one box."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

from mnv2search.cost import cost_of, unit_cost
from mnv2search.spec.layers import Layer, Shortcut, Unit
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import Plan
from mnv2search.spec.rows import BlockSpec
from mnv2search.spec.size import Size


class Source(NamedTuple):
    """An input of a box: the box that it comes from, and the name of a tensor inside that box, or an empty text."""

    box: int
    inside: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """One or several identical consecutive units of a network.

    Attributes:
        at: address in the spec, such as ``blocks[2]``.
        kind: the stem, a block, the last convolution or a part of the head, as in a plan.
        count: number of units.
        title: name of the operator or of the part of the head.
        detail: its numbers, such as ``t 6, c 24, s 2, k 3``.
        params: parameters of one unit.
        madds: multiply-adds of one unit.
        sources: inputs; none for the first box.
        size_in: height and width of the input in px; `c_in` are its channels.
        size_out: height and width of the output in px; `c_out` are its channels.
        shortcut: as in a plan; the input of every unit is added to its output unless it is ``none``.
        repeats: for the first box of a row, the number of blocks of the row; else 0.
    """

    at: str
    kind: str
    count: int
    title: str
    detail: str
    size_in: Size
    c_in: int
    size_out: Size
    c_out: int
    shortcut: Shortcut
    params: int
    madds: int
    sources: tuple[Source, ...]
    repeats: int

    @property
    def input(self) -> str:
        """Size in px and channels of the input."""
        return f"{self.size_in} px x {self.c_in}"

    @property
    def output(self) -> str:
        """Size in px and channels of the output."""
        return f"{self.c_out} outputs" if self.kind == "classifier" else f"{self.size_out} px x {self.c_out}"


def boxes_of(laid_out: Plan) -> tuple[Box, ...]:
    """The boxes of a network, in the order of computation.

    >>> from mnv2search.spec.model_spec import BlockSpec, ModelSpec
    >>> from mnv2search.spec.plan import plan
    >>> network = plan(ModelSpec(name="m", blocks=(BlockSpec(channels=16, repeats=3),), resolution=32))
    >>> [(box.count, box.title, box.detail) for box in boxes_of(network)][1:3]
    [(1, 'bottleneck', 't 6, c 16, s 1, k 3'), (2, 'bottleneck', 't 6, c 16, s 1, k 3')]
    """
    members = list(_members(laid_out))
    box_of = {unit: number for number, units in enumerate(members) for unit in units}
    places = {unit.name or f"layer_{index + 1}": index for index, unit in enumerate(laid_out.units)}
    return tuple(_box(laid_out, units, box_of, places) for units in members)


def _members(laid_out: Plan) -> Iterator[range]:
    """The indices of the units of every box."""
    units, read = laid_out.units, {name for unit in laid_out.units for name in unit.reads}
    inside = {name.partition("/")[0] for name in read if "/" in name}
    alone = {int(name.removeprefix("layer_")) - 1 for name in inside if name.startswith("layer_")}
    start = 0
    for index in range(1, len(units) + 1):
        is_same = index < len(units) and (units[index], laid_out.at[index]) == (
            units[index - 1],
            laid_out.at[index - 1],
        )
        if not is_same or {index - 1, index} & alone or f"layer_{index}" in read:
            yield range(start, index)
            start = index


def _box(laid_out: Plan, members: range, box_of: Mapping[int, int], places: Mapping[str, int]) -> Box:
    first, unit, at = members[0], laid_out.units[members[0]], laid_out.at[members[0]]
    cost = unit_cost(unit)
    previous = (Source(box_of[first - 1]),) if first else ()
    title, detail = _texts(unit, laid_out.spec)
    return Box(
        at=at,
        kind=unit.kind,
        count=len(members),
        title=title,
        detail=detail,
        size_in=unit.size_in,
        c_in=unit.c_in,
        size_out=unit.size_out,
        c_out=unit.c_out,
        shortcut=unit.shortcut,
        params=cost.params,
        madds=cost.madds,
        sources=tuple(_source(name, box_of, places) for name in unit.reads) or previous,
        repeats=laid_out.at.count(at) if unit.kind == "block" and laid_out.at.index(at) == first else 0,
    )


def _source(name: str, box_of: Mapping[int, int], places: Mapping[str, int]) -> Source:
    """The box of a tensor that a head reads: a whole unit, or ``layer_N/expansion_output``."""
    if name in places:
        return Source(box_of[places[name]])
    unit, _, inside = name.partition("/")
    return Source(box_of[places[unit]], inside.removesuffix("_output").replace("output", ""))


def diagram_json(laid_out: Plan) -> dict[str, object]:
    """The boxes of a network as a JSON document; `sources` are the numbers of boxes, from 0."""
    return {
        "name": laid_out.spec.name,
        "resolution": laid_out.spec.resolution,
        **asdict(cost_of(laid_out)),
        "boxes": [
            {
                **asdict(box),
                "size_in": box.size_in.resolution,
                "size_out": box.size_out.resolution,
                "sources": [source._asdict() for source in box.sources],
            }
            for box in boxes_of(laid_out)
        ],
    }


def _texts(unit: Unit, spec: ModelSpec) -> tuple[str, str]:
    """Title and detail of a unit."""
    if unit.block is not None:
        return ("fused block" if unit.block.operator == "fused" else "bottleneck"), _row_text(unit, unit.block)
    if unit.name:
        return unit.name.removeprefix("head/"), _head_text(unit)
    layer = unit.layers[-1]
    if unit.kind == "classifier":
        return "pool, linear", f"{layer.c_out:,} classes"
    channels = spec.stem.channels if unit.kind == "stem" else spec.last_channels
    return _convolution(layer._replace(stride=1)), f"c {channels}, s {layer.stride}, k {layer.kernel}"


def _row_text(unit: Unit, block: BlockSpec) -> str:
    hidden = f"hidden {block.expand_to}" if block.expand_to is not None else f"t {block.expansion:g}"
    squeezed = {"squeeze_excite": "SE", "squeeze_excite_v3": "SE (v3)"}
    dilation = max(layer.dilation for layer in unit.layers)
    parts = (
        hidden,
        f"c {block.channels}",
        f"s {unit.stride}",
        f"k {block.kernel}",
        squeezed.get(block.transform, ""),
        f"dilation {dilation}" if dilation > 1 else "",
        "split" if any(layer.parts for layer in unit.layers) else "",
    )
    return ", ".join(filter(None, parts))


def _head_text(unit: Unit) -> str:
    if unit.kind == "resize":
        return f"enlarge to {unit.size_out} px"
    joined = f"join {len(unit.reads)}" if len(unit.reads) > 1 else ""
    convolutions = _repeated([_convolution(layer) for layer in unit.layers])
    around = ("pool", *convolutions, "spread") if unit.kind == "pooling" else convolutions
    return ", ".join(filter(None, (joined, *around)))


def _repeated(texts: Sequence[str]) -> Sequence[str]:
    """Texts whose second half repeats the first are written once."""
    half = len(texts) // 2
    if half and list(texts[:half]) == list(texts[half:]):
        return [f"2 x ({', '.join(texts[:half])})"]
    return texts


def _convolution(layer: Layer) -> str:
    name = "depthwise" if layer.groups > 1 else "conv"
    stride = f" s {layer.stride}" if layer.stride > 1 else ""
    dilation = f" dilation {layer.dilation}" if layer.dilation > 1 else ""
    return f"{name} {layer.kernel}x{layer.kernel}{stride}{dilation}"
