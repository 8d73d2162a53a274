"""The parts of a plan: layers and the units they make up, with the arithmetic of their channels and sizes."""

from __future__ import annotations

from typing import Literal, NamedTuple

from mnv2search.errors import Problem, SpecError
from mnv2search.spec.model_spec import BlockSpec
from mnv2search.spec.size import Pad, Size

__all__ = ["NO_PAD", "POINT", "Layer", "Role", "Shortcut", "Unit", "UnitKind", "make_divisible", "padded"]

Role = Literal[
    "stem",
    "expansion",
    "depthwise",
    "squeeze",
    "excite",
    "projection",
    "last",
    "classifier",
    "pointwise",
    "convolution",
    "predictor",
]
Shortcut = Literal["none", "identity", "pad"]
NO_PAD, POINT = Pad(0, 0, 0, 0), Size(1, 1)
UnitKind = Literal[
    "stem",
    "block",
    "last",
    "classifier",
    "extra",
    "boxes",
    "scores",
    "pooling",
    "branch",
    "join",
    "tap",
    "decoder",
    "logits",
    "resize",
]


class Layer(NamedTuple):
    """One convolution (or the classifier's linear layer) with all its numbers.

    A named tuple and not a dataclass: a search lays out millions of them, and this builds three times faster.

    Attributes:
        role: what the layer is for; a fused block's k x k convolution is its expansion. In the heads of detectors
            and segmenters, a `pointwise` has kernel 1, a `convolution` more, and a `predictor` gives answers.
        c_in: input channels.
        c_out: output channels.
        kernel: side of the kernel in px.
        stride: 1 or 2.
        dilation: 1 or more.
        groups: of the convolution.
        parts: (inputs, outputs) of each part of a split convolution; empty where it is not split.
        pad: rows and columns of zeros that are added.
        size_in: of the input map.
        size_out: of the output map.
        bias: whether there is a bias.
        normalizer: `batch`, `group` or `none`.
        activation: an activation, or `sigmoid` or `hard_sigmoid` for a gate.
    """

    role: Role
    c_in: int
    c_out: int
    kernel: int
    stride: int
    dilation: int
    groups: int
    parts: tuple[tuple[int, int], ...]
    pad: Pad
    size_in: Size
    size_out: Size
    bias: bool
    normalizer: str
    activation: str

    @property
    def weights(self) -> int:
        """Weights of the kernel, without bias and norm."""
        dense = sum(i * o for i, o in self.parts) if self.parts else self.c_in * self.c_out // self.groups
        return self.kernel * self.kernel * dense


class Unit(NamedTuple):
    """The stem, one block, the last convolution, or a part of the head.

    Attributes:
        kind: which of them. Before a `classifier` comes a global average pool; of a `pooling` too, and its output is
            spread over the map again. A `resize` has no layers: it enlarges bilinearly, corners on corners.
        layers: in the order of computation; `squeeze` and `excite` act on the pooled hidden tensor and their
            result is multiplied onto it.
        c_in: input channels.
        c_out: output channels.
        size_in: of what it reads.
        size_out: of what it makes.
        stride: as built, after output-stride rewriting.
        shortcut: `identity`, `pad` (pooled and zero-padded input) or `none`.
        block: the row it comes from, or None.
        name: of a part of a detector or segmenter, such as ``head/extra_1``; else empty.
        reads: endpoints that are its input, the smaller ones enlarged to its size and all joined by channels; empty
            reads the unit before.
    """

    kind: UnitKind
    layers: tuple[Layer, ...]
    c_in: int
    c_out: int
    size_in: Size
    size_out: Size
    stride: int
    shortcut: Shortcut
    block: BlockSpec | None
    name: str = ""
    reads: tuple[str, ...] = ()


def make_divisible(value: float, divisor: int, minimum: int | None = None) -> int:
    """`value` rounded to a multiple of `divisor`, never below `minimum` and never more than 10 % down.

    >>> [make_divisible(v, 8) for v in (11.2, 5.6, 8.4, 12, 18)]
    [16, 8, 8, 16, 24]

    Source: tensorflow/models, mobilenet.py, `make_divisible`.
    """
    rounded = max(divisor if minimum is None else minimum, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def padded(padding: str, size: Size, kernel: int, stride: int, dilation: int) -> tuple[Pad, Size]:
    """What is added around a map, and the output's size. Source: TensorFlow's SAME and VALID; PyTorch's `Conv2d`."""
    (top, bottom), height = _padded(padding, size.height, kernel, stride, dilation)
    if size.is_square:
        return Pad(top, bottom, top, bottom), Size(height, height)
    (left, right), width = _padded(padding, size.width, kernel, stride, dilation)
    return Pad(top, bottom, left, right), Size(height, width)


def _padded(padding: str, side: int, kernel: int, stride: int, dilation: int) -> tuple[tuple[int, int], int]:
    """(zeros before, zeros after) and the output side, of rows or of columns."""
    reach = dilation * (kernel - 1)
    if padding == "symmetric":
        return (reach // 2, reach // 2), (side - 1) // stride + 1
    if padding == "same":
        out = -(-side // stride)
        total = max((out - 1) * stride + reach + 1 - side, 0)
        return (total // 2, total - total // 2), out
    if side <= reach:
        raise SpecError.from_problems(
            [
                Problem(
                    at="padding",
                    what=f"padding valid leaves nothing of a {side} px map under a kernel of {reach + 1} px",
                    fix="use a larger resolution, or padding symmetric",
                )
            ]
        )
    return (0, 0), (side - reach - 1) // stride + 1
