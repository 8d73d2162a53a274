"""The base class of every head, and the backbone below a head."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from mnv2search.errors import SpecError, nearest
from mnv2search.spec.layers import Layer, Style, Unit, UnitKind
from mnv2search.spec.rows import BatchNorm
from mnv2search.spec.rules import Checked, Pattern
from mnv2search.spec.size import Size


def endpoint_or(words: str) -> Pattern:
    """The pattern of an endpoint name or of one of several words, which are separated by ``|``."""
    name = r"layer_[1-9]\d{0,3}(?:/(?:output|expansion_output|depthwise_output))?"
    return Pattern(f"{words}|{name}", "name an endpoint such as layer_15/expansion_output, or leave it out")


class Backbone(NamedTuple):
    """The features below a head.

    Attributes:
        strides: stride of every unit as written, before any becomes dilation.
        size: size of the image.
        width: width multiplier.
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
        """The style of a head, whose padding keeps the size of small maps: padding valid would use them up."""
        return self.style._replace(padding="same" if self.style.padding == "same" else "symmetric")

    def endpoint(self, name: str, at: str) -> Endpoint:
        """The tensor with a name, which may be inside a block.

        Raises:
            SpecError: no tensor has this name.
        """
        layer, _, inside = name.partition("/")
        number = int(layer.removeprefix("layer_"))
        if number <= len(self.units):
            unit = self.units[number - 1]
            if not inside or (inside == "output" and unit.kind == "block"):
                return Endpoint(name, unit.c_out, unit.size_out)
            for one in unit.layers if unit.kind == "block" else ():
                if inside == f"{one.role}_output":
                    return Endpoint(name, one.c_out, one.size_out)
        known = [f"layer_{n}" for n in range(1, len(self.units) + 1)]
        known += [
            f"layer_{n}/expansion_output" for n, u in enumerate(self.units, 1) if u.layers[0].role == "expansion"
        ]
        near = nearest(name, known)
        fix = f"did you mean {' or '.join(near)}?" if near else f"there are layer_1 to layer_{len(self.units)}"
        raise SpecError.of(at=at, what=f"there is no endpoint {name}", fix=fix)


class Endpoint(NamedTuple):
    """A tensor that a head reads."""

    name: str
    channels: int
    size: Size


@dataclass(frozen=True, slots=True, kw_only=True)
class Head(Checked):
    """The layers after the features; a subclass is a frozen dataclass whose annotations are the rules of its fields.

    A head whose only unit is a `classifier_unit` needs only `word` and `units`. Units of other kinds have
    names, such as ``head/keypoints``, and are computed by a torch module.

    Attributes:
        word: name of the head in a file.
        fixes_size: whether the network accepts images of one size only.
        module: ``package.module:Class`` of a `mnv2search.model.dense.DenseHead`, for units with names.
    """

    word: ClassVar[str] = ""
    module: ClassVar[str] = ""
    fixes_size: ClassVar[bool] = False

    @property
    def classes(self) -> int:
        """The number of predicted classes: a field of heads that predict classes, else 0."""
        return 0

    @property
    def dropout(self) -> float:
        """The dropout rate of its inputs in training: a field of heads with dropout."""
        return 0.0

    def units(self, backbone: Backbone) -> Iterator[tuple[str, Unit]]:
        """Every unit with its address in the spec, in the order of computation.

        Raises:
            SpecError: the head does not fit the backbone.
        """
        raise NotImplementedError

    def backbone_minimum(self) -> int | None:
        """The minimum channels of a scaled layer of the backbone, or None for the network's own minimum."""
        return None

    def norm_of(self, batch_norm: BatchNorm) -> BatchNorm:
        """The batch-norm constants of its units, derived from the network's."""
        return batch_norm


def head_unit(kind: UnitKind, name: str, reads: Sequence[Endpoint], layers: tuple[Layer, ...]) -> Unit:
    """A unit that reads endpoints."""
    first, last = layers[0], layers[-1]
    stride = 2 if any(layer.stride > 1 for layer in layers) else 1
    channels = sum(tensor.channels for tensor in reads)
    names = tuple(tensor.name for tensor in reads)
    return Unit(kind, layers, channels, last.c_out, first.size_in, last.size_out, stride, "none", None, name, names)
