"""The base of every head, the backbone that it stands on, and the layers that heads are built of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from mnv2search.errors import Problem, SpecError, nearest
from mnv2search.spec.layers import Layer, Style, Unit, UnitKind, Window, make_layer
from mnv2search.spec.rows import BatchNorm
from mnv2search.spec.rules import check
from mnv2search.spec.size import Size

ENDPOINT = r"layer_[1-9]\d{0,3}(?:/(?:output|expansion_output|depthwise_output))?"
ENDPOINT_FIX = "name an endpoint such as layer_15/expansion_output, or leave it out"


class Backbone(NamedTuple):
    """The features that a head stands on.

    Attributes:
        units: in the order of computation.
        strides: of every unit as written, before any becomes dilation.
        size: of the image.
        width: the width multiplier.
        style: of its convolutions.
    """

    units: Sequence[Unit]
    strides: Sequence[int]
    size: Size
    width: float
    style: Style

    @property
    def last(self) -> Endpoint:
        """The final map."""
        return Endpoint(f"layer_{len(self.units)}", self.units[-1].c_out, self.units[-1].size_out)

    @property
    def head_style(self) -> Style:
        """The style of a head: it keeps the sizes of its maps, where padding valid would use up the small ones."""
        return self.style._replace(padding="same" if self.style.padding == "same" else "symmetric")


class Endpoint(NamedTuple):
    """A tensor that a head reads."""

    name: str
    channels: int
    size: Size


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What stands on the features; a subclass is a frozen dataclass whose annotations are the rules of its fields.

    A head whose only unit is a `classifier_unit` needs no more than `word` and `units`. Units of other kinds have
    names, such as ``head/keypoints``, and a torch module computes them.

    Attributes:
        word: that stands for it in a file.
        fixes_size: whether the network takes images of its own size alone.
        module: ``package.module:Class`` of a `mnv2search.model.dense.DenseHead`, for units with names.
    """

    word: ClassVar[str] = ""
    module: ClassVar[str] = ""
    fixes_size: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check(self, self.problems)

    @property
    def classes(self) -> int:
        """Classes that it tells apart: a field of the heads that do, 0 for others."""
        return 0

    @property
    def dropout(self) -> float:
        """Share of its inputs that are dropped in training: a field of the heads that drop any."""
        return 0.0

    def problems(self) -> Iterable[Problem]:
        """The broken rules that tie several fields together."""
        return ()

    def units(self, backbone: Backbone) -> Iterator[tuple[str, Unit]]:
        """Every unit with its address in the spec, in the order of computation.

        Raises:
            SpecError: the head does not fit the backbone.
        """
        raise NotImplementedError

    def backbone_minimum(self) -> int | None:
        """The least channels of a scaled layer of the backbone, or None for the network's own."""
        return None

    def norm_of(self, batch_norm: BatchNorm) -> BatchNorm:
        """The batch-norm constants of its units, from those of the network."""
        return batch_norm


def endpoint(name: str, at: str, units: Sequence[Unit]) -> Endpoint:
    """The tensor of a name, which may lie inside a block.

    Raises:
        SpecError: there is none.
    """
    layer, _, inside = name.partition("/")
    number = int(layer.removeprefix("layer_"))
    if number <= len(units):
        unit = units[number - 1]
        if not inside or (inside == "output" and unit.kind == "block"):
            return Endpoint(name, unit.c_out, unit.size_out)
        for one in unit.layers if unit.kind == "block" else ():
            if inside == f"{one.role}_output":
                return Endpoint(name, one.c_out, one.size_out)
    known = [f"layer_{n}" for n in range(1, len(units) + 1)]
    known += [f"layer_{n}/expansion_output" for n, u in enumerate(units, 1) if u.layers[0].role == "expansion"]
    near = nearest(name, known)
    fix = f"did you mean {' or '.join(near)}?" if near else f"there are layer_1 to layer_{len(units)}"
    raise SpecError.of(at=at, what=f"there is no endpoint {name}", fix=fix)


def head_unit(kind: UnitKind, name: str, reads: Sequence[Endpoint], layers: tuple[Layer, ...]) -> Unit:
    """A unit that reads endpoints."""
    first, last = layers[0], layers[-1]
    stride = 2 if any(layer.stride > 1 for layer in layers) else 1
    channels = sum(tensor.channels for tensor in reads)
    names = tuple(tensor.name for tensor in reads)
    return Unit(kind, layers, channels, last.c_out, first.size_in, last.size_out, stride, "none", None, name, names)


def pointwise(c_in: int, c_out: int, size: Size, style: Style) -> Layer:
    """A 1x1 convolution."""
    return make_layer("pointwise", c_in, c_out, size, style)


def depthwise(channels: int, kernel: int, stride: int, rate: int, size: Size, style: Style) -> Layer:
    """A depthwise convolution, dilated by `rate`."""
    window = Window(kernel, stride, rate)
    return make_layer("depthwise", channels, channels, size, style, groups=channels, window=window)


def whole(c_in: int, c_out: int, kernel: int, stride: int, rate: int, size: Size, style: Style) -> Layer:
    """An ordinary convolution, dilated by `rate`."""
    return make_layer("convolution", c_in, c_out, size, style, window=Window(kernel, stride, rate))


def predictor(c_in: int, c_out: int, kernel: int, size: Size, style: Style) -> Layer:
    """A convolution with bias alone, whose output is the answer."""
    plain = Style(style.padding, "none", "none")
    return make_layer("predictor", c_in, c_out, size, plain, window=Window(kernel))
