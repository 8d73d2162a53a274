"""The units of a detector's or a segmenter's head, laid out on the features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mnv2search.errors import Problem, SpecError, nearest
from mnv2search.spec.layers import NO_PAD, POINT, Layer, Unit, UnitKind, padded
from mnv2search.spec.model_spec import DeepLab, ExtraLayer, ModelSpec, SsdLite
from mnv2search.spec.size import Size

__all__ = ["boxes_per_place", "head_units"]

# Boxes a place on a reduced first map. Source: tensorflow/models, multiple_grid_anchor_generator.py.
REDUCED_BOXES = 3


class _Tensor(NamedTuple):
    """An endpoint that a head reads."""

    name: str
    channels: int
    size: Size


class _Style(NamedTuple):
    """What the convolutions of a head have in common."""

    padding: str
    normalizer: str
    activation: str


def head_units(spec: ModelSpec, head: SsdLite | DeepLab, features: Sequence[Unit]) -> Iterator[tuple[str, Unit]]:
    """Every unit of a head with its address in the spec.

    Args:
        spec: the network.
        head: its head.
        features: the units that the head stands on.

    Raises:
        SpecError: the head reads an endpoint that the network does not have.
    """
    # A head keeps its maps' sizes whatever the backbone does; `valid` would eat the small maps up.
    padding = "same" if spec.padding == "same" else "symmetric"
    if isinstance(head, SsdLite):
        return _detector_units(spec, head, features, _Style(padding, spec.normalizer, spec.activation))
    return _segmenter_units(spec, head, features, _Style(padding, spec.normalizer, head.activation))


def boxes_per_place(head: SsdLite, number: int) -> int:
    """Boxes that are predicted at each place of a map.

    >>> [boxes_per_place(SsdLite(), number) for number in (0, 1)]
    [3, 6]
    """
    if head.reduced_first and number == 0:
        return REDUCED_BOXES
    return len(head.ratios) + head.interpolated


def _detector_units(
    spec: ModelSpec, head: SsdLite, features: Sequence[Unit], style: _Style
) -> Iterator[tuple[str, Unit]]:
    """Extra maps, then the predictors of each map. Source: tensorflow/models, feature_map_generators.py."""
    maps = [_detector_tap(spec, name, number, features) for number, name in enumerate(head.taps)]
    for number, extra in enumerate(head.extras):
        layers = _extra_layers(spec, head, extra, maps[-1], style)
        unit = _unit("extra", f"head/extra_{number + 1}", [maps[-1]], layers)
        maps.append(_Tensor(unit.name, unit.c_out, unit.size_out))
        yield f"head.extras[{number}]", unit
    for number, one in enumerate(maps):
        boxes = boxes_per_place(head, number)
        for kind, outputs in (("boxes", 4 * boxes), ("scores", (head.classes + 1) * boxes)):
            layers = _predictor_layers(head, one, outputs, style)
            yield "head", _unit("boxes" if kind == "boxes" else "scores", f"head/{kind}_{number + 1}", [one], layers)


def _extra_layers(
    spec: ModelSpec, head: SsdLite, extra: ExtraLayer, source: _Tensor, style: _Style
) -> tuple[Layer, ...]:
    """A 1x1 to half of the channels, then a strided 3x3; depths are cut off, not rounded to a multiple."""
    half, whole = (max(int(depth * spec.width), head.min_channels) for depth in (extra.channels / 2, extra.channels))
    narrow = _pointwise(source.channels, half, source.size, style)
    if not head.depthwise_extras:
        return narrow, _full(half, whole, 3, 2, 1, source.size, style)
    deep = _depthwise(half, 3, 2, 1, source.size, style)
    return narrow, deep, _pointwise(half, whole, deep.size_out, style)


def _predictor_layers(head: SsdLite, source: _Tensor, outputs: int, style: _Style) -> tuple[Layer, ...]:
    """Source: tensorflow/models, predictors/heads/box_head.py and class_head.py."""
    channels, size, kernel = source.channels, source.size, head.predictor_kernel
    if head.depthwise_predictors:
        return _depthwise(channels, kernel, 1, 1, size, style), _predictor(channels, outputs, 1, size, style)
    return (_predictor(channels, outputs, kernel, size, style),)


def _segmenter_units(
    spec: ModelSpec, head: DeepLab, features: Sequence[Unit], style: _Style
) -> Iterator[tuple[str, Unit]]:
    """Source: tensorflow/models, deeplab/model.py, `extract_features` and `refine_by_decoder`."""
    final = _Tensor(f"layer_{len(features)}", features[-1].c_out, features[-1].size_out)
    branches: list[Unit] = []
    if head.image_pooling:
        branches.append(_pooling(head, final, style))
    one = _pointwise(final.channels, head.channels, final.size, style)
    branches.append(_unit("branch", "head/aspp_0", [final], (one,)))
    for number, rate in enumerate(head.aspp_rates, start=1):
        layers = _separable(final.channels, head.channels, rate, final.size, style, whole=not head.aspp_separable)
        branches.append(_unit("branch", f"head/aspp_{number}", [final], layers))
    yield from (("head", unit) for unit in branches)
    joined = [_Tensor(unit.name, unit.c_out, unit.size_out) for unit in branches]
    layers = (_pointwise(sum(t.channels for t in joined), head.channels, final.size, style),)
    unit = _unit("join", "head/join", joined, layers)
    yield "head", unit
    if head.decoder_stride is not None:
        source = _decoder_source(spec, head, head.decoder_stride, features)
        tap = _tap(head, source, style)
        yield "head", tap
        unit = _decoder(head, unit, tap, style)
        yield "head", unit
    last = _Tensor(unit.name, unit.c_out, unit.size_out)
    unit = _unit("logits", "head/logits", [last], (_predictor(last.channels, head.classes, 1, last.size, style),))
    yield "head", unit
    if head.output != "logits":
        resized = Unit(
            "resize", (), unit.c_out, unit.c_out, unit.size_out, spec.size, 1, "none", None, "head/resized"
        )
        yield "head", resized._replace(reads=(unit.name,))


def _pooling(head: DeepLab, final: _Tensor, style: _Style) -> Unit:
    layer = _pointwise(final.channels, head.channels, POINT, style)
    return _unit("pooling", "head/pooling", [final], (layer,))._replace(size_in=final.size, size_out=final.size)


def _tap(head: DeepLab, source: _Tensor, style: _Style) -> Unit:
    layer = _pointwise(source.channels, head.decoder_channels, source.size, style)
    return _unit("tap", "head/tap", [source], (layer,))


def _decoder(head: DeepLab, joined: Unit, tap: Unit, style: _Style) -> Unit:
    read = [_Tensor(joined.name, joined.c_out, tap.size_out), _Tensor(tap.name, tap.c_out, tap.size_out)]
    first = _separable(joined.c_out + tap.c_out, head.channels, 1, tap.size_out, style)
    second = _separable(head.channels, head.channels, 1, tap.size_out, style)
    return _unit("decoder", "head/decoder", read, (*first, *second))


def _separable(
    c_in: int, c_out: int, rate: int, size: Size, style: _Style, *, whole: bool = False
) -> tuple[Layer, ...]:
    """A 3x3 of a rate: depthwise with a 1x1 after it, or whole."""
    if whole:
        return (_full(c_in, c_out, 3, 1, rate, size, style),)
    return _depthwise(c_in, 3, 1, rate, size, style), _pointwise(c_in, c_out, size, style)


def _detector_tap(spec: ModelSpec, name: str, number: int, features: Sequence[Unit]) -> _Tensor:
    at = f"head.taps[{number}]"
    if name == "last":
        name = f"layer_{len(features)}"
    elif name == "before_last_stride":
        name = _before_last_stride(spec, at, features)
    return _endpoint(name, at, features)


def _before_last_stride(spec: ModelSpec, at: str, features: Sequence[Unit]) -> str:
    """The endpoint that the last strided convolution of the blocks reads."""
    strided = [number for number, stride in enumerate(_strides(spec), start=1) if stride > 1 and number > 1]
    if strided:
        number = strided[-1]
        layers = features[number - 1].layers
        carrier = next(i for i, layer in enumerate(layers) if layer.kernel > 1 or layer.role == "depthwise")
        if carrier == 0:
            return f"layer_{number - 1}"
        if layers[carrier - 1].role == "expansion":
            return f"layer_{number}/expansion_output"
    raise SpecError.from_problems(
        [
            Problem(
                at=at,
                what="before_last_stride has no endpoint: no block, or only its last depthwise, has stride 2",
                fix="name an endpoint such as layer_2, or give a row stride 2",
            )
        ]
    )


def _decoder_source(spec: ModelSpec, head: DeepLab, stride: int, features: Sequence[Unit]) -> _Tensor:
    """The tensor that a decoder refines with. Source: tensorflow/models, deeplab/core/feature_extractor.py."""
    reached, candidate = 1, ""
    for number, (unit, own) in enumerate(zip(features, _strides(spec), strict=False), start=1):
        reached *= own
        if reached == stride and any(layer.role == "depthwise" for layer in unit.layers):
            candidate = f"layer_{number}/depthwise_output"
    if head.decoder_tap != "auto":
        found = _endpoint(head.decoder_tap, "head.decoder_tap", features)
    elif candidate:
        found = _endpoint(candidate, "head.decoder_stride", features)
    else:
        found = _Tensor("", 0, Size(0, 0))
    wrong = spec.padding != "valid" and found.size != spec.size.strided(stride)
    if found.size.area <= features[-1].size_out.area or wrong:
        raise SpecError.from_problems([_decoder_problem(spec, head, stride, found)])
    return found


def _decoder_problem(spec: ModelSpec, head: DeepLab, stride: int, found: _Tensor) -> Problem:
    what = f"decoder_stride is {stride}"
    if head.decoder_tap != "auto":
        what += f", but {found.name} has {found.size} px of {spec.size}"
    elif not found.name:
        what += ", but no block with a depthwise has it"
    else:
        what += ", which the final map has already"
    return Problem(at="head.decoder_stride", what=what, fix="use a smaller stride, or leave it out")


def _strides(spec: ModelSpec) -> Iterator[int]:
    """The stride of every unit of the features as written, before any is turned into dilation."""
    yield spec.stem.stride
    for block in spec.blocks:
        yield block.stride
        yield from [1] * (block.repeats - 1)


def _endpoint(name: str, at: str, features: Sequence[Unit]) -> _Tensor:
    """The tensor of a name, which may lie inside a block."""
    layer, _, inside = name.partition("/")
    number = int(layer.removeprefix("layer_"))
    if number <= len(features):
        unit = features[number - 1]
        if not inside or (inside == "output" and unit.kind == "block"):
            return _Tensor(name, unit.c_out, unit.size_out)
        for one in unit.layers if unit.kind == "block" else ():
            if inside == f"{one.role}_output":
                return _Tensor(name, one.c_out, one.size_out)
    known = [f"layer_{n}" for n in range(1, len(features) + 1)]
    known += [f"layer_{n}/expansion_output" for n, u in enumerate(features, 1) if u.layers[0].role == "expansion"]
    near = nearest(name, known)
    fix = f"did you mean {' or '.join(near)}?" if near else f"there are layer_1 to layer_{len(features)}"
    raise SpecError.from_problems([Problem(at=at, what=f"there is no endpoint {name}", fix=fix)])


def _unit(kind: UnitKind, name: str, reads: Sequence[_Tensor], layers: tuple[Layer, ...]) -> Unit:
    first, last = layers[0], layers[-1]
    stride = 2 if any(layer.stride > 1 for layer in layers) else 1
    return Unit(
        kind,
        layers,
        sum(tensor.channels for tensor in reads),
        last.c_out,
        first.size_in,
        last.size_out,
        stride,
        "none",
        None,
        name,
        tuple(tensor.name for tensor in reads),
    )


def _pointwise(c_in: int, c_out: int, size: Size, style: _Style) -> Layer:
    normalizer = style.normalizer
    place = (1, 1, 1, 1, (), NO_PAD, size, size)
    return Layer("pointwise", c_in, c_out, *place, normalizer == "none", normalizer, style.activation)


def _depthwise(channels: int, kernel: int, stride: int, rate: int, size: Size, style: _Style) -> Layer:
    pad, out = padded(style.padding, size, kernel, stride, rate)
    numbers = (channels, channels, kernel, stride, rate, channels, (), pad, size, out)
    return Layer("depthwise", *numbers, style.normalizer == "none", style.normalizer, style.activation)


def _full(c_in: int, c_out: int, kernel: int, stride: int, rate: int, size: Size, style: _Style) -> Layer:
    pad, out = padded(style.padding, size, kernel, stride, rate)
    numbers = (c_in, c_out, kernel, stride, rate, 1, (), pad, size, out)
    return Layer("convolution", *numbers, style.normalizer == "none", style.normalizer, style.activation)


def _predictor(c_in: int, c_out: int, kernel: int, size: Size, style: _Style) -> Layer:
    pad, out = padded(style.padding, size, kernel, 1, 1)
    return Layer("predictor", c_in, c_out, kernel, 1, 1, 1, (), pad, size, out, True, "none", "none")
