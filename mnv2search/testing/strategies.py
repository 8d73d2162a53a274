"""Hypothesis strategies for specs, search spaces and edits of their text."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import TypeVar

from hypothesis import reject
from hypothesis import strategies as st

from mnv2search.errors import SpecError
from mnv2search.spec import model_spec as ms
from mnv2search.spec.heads.ssdlite import MIN_DETECTOR_SIDE
from mnv2search.spec.rules import OUTPUT_STRIDES, built, name_problem, rules_of
from mnv2search.spec.size import Size
from mnv2search.spec.space import Axis, SearchSpace
from mnv2search.spec.space_check import pick_problems

T = TypeVar("T")
_TOKEN = re.compile(r"[\w.\-]+|\s+|.", re.DOTALL)
_INTRUDERS = (
    *("010", "1:30", "on", "no", "~", "null", "none", ".nan", "-.inf", "1e999", "0x10", "1_000"),
    *("-1", "0", "99999999999"),
    *("<<", "*a", "&a x", "!!python/object:os.system", "!x", "|", ">", "- ", "? ", "---\n", "...\n", "%YAML 1.1\n"),
    *("\t", "\x00", "\u2028", "\ufeff", "\ud800", "\r", "'", '"', "{", "}", "[", "]", ",", ":", "#", "@", "`", "é"),
    *("{from: 1, to: 9, step: 2}", "[1, 2]", "[]", "{}", "[[1]]", "true", "3.5", "t", "each", "same", "1" * 5000),
)


def names() -> st.SearchStrategy[str]:
    """Valid names of networks and spaces, up to 24 characters."""
    printable = st.characters(codec="utf-8", exclude_characters="/\\").filter(str.isprintable)
    return st.text(printable, min_size=1, max_size=24).filter(lambda name: name_problem(name) is None)


@st.composite
def block_specs(draw: st.DrawFn, *, is_plain: bool = False) -> ms.BlockSpec:
    """Valid rows; plain rows set only expansion, channels, repeats, stride and kernel."""
    values: dict[str, object] = {
        "channels": draw(st.sampled_from([8, 16, 24, 32, 40, 64])),
        "expansion": draw(st.sampled_from([1, 2, 3, 4.5, 6])),
        "repeats": draw(st.integers(1, 3)),
        "stride": draw(st.sampled_from([1, 2])),
        "kernel": draw(st.sampled_from([3, 5, 7])),
    }
    if is_plain:
        return built(ms.BlockSpec, values)
    for name in draw(st.lists(st.sampled_from(sorted(_BLOCK_OPTIONS)), max_size=4, unique=True)):
        values[name] = draw(_BLOCK_OPTIONS[name])
    return built(ms.BlockSpec, _reconciled(values))


def _reconciled(values: dict[str, object]) -> dict[str, object]:
    """The settings of a row without incompatible ones."""
    dropped: tuple[str, ...] = ()
    if values.get("operator") == "fused":
        dropped = ("depthwise_location", "split_expansion", "split_projection", "depthwise_multiplier")
        values["expansion"] = 2 if values["expansion"] == 1 else values["expansion"]
    elif values.get("depthwise_location", "expansion") != "expansion":
        dropped = ("transform",)
    if values.get("depthwise_location") == "none":
        dropped += ("stride", "dilation", "depthwise_multiplier")
    if values.get("dilation", 1) != 1:
        dropped += ("stride",)
    return {name: value for name, value in values.items() if name not in dropped}


def _words(kind: type) -> dict[str, st.SearchStrategy[str]]:
    return {name: st.sampled_from(rule.words) for name, rule in rules_of(kind).items() if rule.words}


_BLOCK_OPTIONS: dict[str, st.SearchStrategy[object]] = {
    "dilation": st.sampled_from([1, 2, 3]),
    "expand_to": st.sampled_from([16, 48, 96]),
    "expand_divisor": st.sampled_from([1, 4, 8]),
    "split_expansion": st.integers(1, 3),
    "split_projection": st.integers(1, 3),
    "depthwise_multiplier": st.integers(1, 2),
    **_words(ms.BlockSpec),
}


@st.composite
def specs(draw: st.DrawFn, *, is_plain: bool = False, max_rows: int = 4, max_resolution: int = 64) -> ms.ModelSpec:
    """Valid networks, small enough to build.

    Plain networks set only the columns of the paper's Table 2, and have square inputs. Sides are in px.
    """
    blocks = draw(st.lists(block_specs(is_plain=is_plain), min_size=1, max_size=max_rows))
    values: dict[str, object] = {
        "name": draw(names()),
        "blocks": tuple(blocks),
        "width": draw(st.sampled_from([0.25, 0.35, 0.5, 0.75, 1.0, 1.4])),
        "resolution": draw(_squares(max_resolution) if is_plain else _sizes(max_resolution)),
        "last_channels": draw(st.sampled_from([None, 32, 64])),
        "head": draw(st.none() | st.builds(ms.Classifier, classes=st.integers(1, 12), dropout=st.floats(0, 0.9))),
    }
    if not is_plain:
        for name in draw(st.lists(st.sampled_from(sorted(_MODEL_OPTIONS)), max_size=4, unique=True)):
            values[name] = draw(_MODEL_OPTIONS[name])
    stem, output_stride = values.get("stem", ms.Stem()), values.get("output_stride", 1)
    assert isinstance(stem, ms.Stem)
    assert isinstance(output_stride, int)
    if output_stride > stem.stride * math.prod(block.stride for block in blocks):
        del values["output_stride"]
    try:
        return built(ms.ModelSpec, values)
    except SpecError:
        reject()


@st.composite
def dense_specs(draw: st.DrawFn) -> ms.ModelSpec:
    """Valid detectors and segmenters, small enough to build."""
    base = draw(specs(max_rows=3))
    head = draw(_detectors() | _segmenters())
    size = Size(*(max(own, MIN_DETECTOR_SIDE) for own in base.size))
    try:
        return replace(base, head=head, resolution=size.resolution, last_channels=None)
    except SpecError:
        reject()


def _squares(most: int) -> st.SearchStrategy[int]:
    return st.integers(8, most)


def _sizes(most: int) -> st.SearchStrategy[int | tuple[int, int]]:
    rectangles = st.tuples(_squares(most), _squares(most)).filter(lambda size: size[0] != size[1])
    return _squares(most) | rectangles


def _detectors() -> st.SearchStrategy[ms.SsdLite]:
    extras = st.lists(st.builds(ms.ExtraLayer, channels=st.sampled_from([24, 40])), min_size=1, max_size=3)
    taps = st.sampled_from([("last",), ("layer_1", "last"), ("before_last_stride", "last"), ("layer_2/output",)])
    return st.builds(
        ms.SsdLite,
        classes=st.integers(1, 4),
        taps=taps,
        extras=extras.map(tuple),
        min_channels=st.sampled_from([8, 16]),
        depthwise_extras=st.booleans(),
        depthwise_predictors=st.booleans(),
        predictor_kernel=st.sampled_from([1, 3]),
        ratios=st.sampled_from([(1.0,), (1.0, 2.0, 0.5)]),
        interpolated=st.booleans(),
        reduced_first=st.booleans(),
        output=st.sampled_from(["raw", "boxes"]),
    )


def _segmenters() -> st.SearchStrategy[ms.DeepLab]:
    return st.builds(
        ms.DeepLab,
        classes=st.integers(2, 5),
        channels=st.sampled_from([8, 16]),
        image_pooling=st.booleans(),
        aspp_rates=st.sampled_from([(), (2,), (2, 3)]),
        aspp_separable=st.booleans(),
        decoder_stride=st.sampled_from([None, 2, 4]),
        decoder_channels=st.sampled_from([8, 16]),
        activation=st.sampled_from(["relu", "relu6"]),
        output=st.sampled_from(["logits", "resized"]),
    )


_MODEL_OPTIONS: dict[str, st.SearchStrategy[object]] = {
    "stem": st.builds(
        ms.Stem, channels=st.sampled_from([8, 16, 32]), kernel=st.sampled_from([3, 5]), stride=st.integers(1, 2)
    ),
    "channel_divisor": st.sampled_from([4, 8, 16]),
    "min_channels": st.sampled_from([4, 8, 16]),
    "keep_stem": st.booleans(),
    "output_stride": st.sampled_from(OUTPUT_STRIDES),
    "batch_norm": st.builds(ms.BatchNorm, eps=st.floats(1e-6, 0.1), momentum=st.floats(1e-4, 1)),
    **_words(ms.ModelSpec),
}


@st.composite
def search_spaces(draw: st.DrawFn, *, is_plain: bool = False) -> SearchSpace:
    """Valid search spaces with at least one axis; some have separate choices for each repeat."""
    template = draw(specs(is_plain=is_plain, max_rows=3))
    axes = [Axis(at="width", options=_options(draw, template.width, [0.3, 0.6, 1.1], least=1))]
    if isinstance(template.resolution, int) and draw(st.booleans()):
        axes.append(Axis(at="resolution", options=_options(draw, template.resolution, [20, 33, 48])))
    for row, block in enumerate(template.blocks):
        repeats = _options(draw, block.repeats, [1, 2, 3])
        if len(repeats) > 1:
            axes.append(Axis(at=f"blocks[{row}].repeats", options=repeats))
        for name, known in (("expansion", [2, 3, 6]), ("kernel", [3, 5])):
            options = _options(draw, getattr(block, name), known)
            if len(options) > 1 and draw(st.booleans()):
                axes += [Axis(at=f"blocks[{row}].each[{i}].{name}", options=options) for i in range(max(repeats))]
            elif len(options) > 1:
                axes.append(Axis(at=f"blocks[{row}].{name}", options=options))
    try:
        space = SearchSpace(template=replace(template, name=draw(names())), axes=tuple(draw(st.permutations(axes))))
    except SpecError:
        reject()
    if any(True for _ in pick_problems(space)):
        reject()
    return space


def _options(draw: st.DrawFn, first: T, known: list[T], *, least: int = 0) -> tuple[T, ...]:
    more = [option for option in known if option != first]
    return (first, *draw(st.lists(st.sampled_from(more), min_size=least, max_size=2, unique=True)))


def picks(space: SearchSpace) -> st.SearchStrategy[tuple[int, ...]]:
    """Picks of a space, not necessarily canonical."""
    return st.tuples(*(st.integers(0, card - 1) for card in space.cards))


@st.composite
def edits(draw: st.DrawFn, text: str) -> str:
    """`text` with one token deleted, doubled, replaced or preceded by an intruder, or swapped with the next."""
    tokens = _TOKEN.findall(text)
    at = draw(st.integers(0, len(tokens) - 1))
    kind = draw(st.sampled_from(["delete", "double", "replace", "insert", "swap"]))
    if kind == "delete":
        tokens[at] = ""
    elif kind == "double":
        tokens[at] *= 2
    elif kind == "swap":
        tokens[at : at + 2] = reversed(tokens[at : at + 2])
    else:
        intruder = draw(st.sampled_from(_INTRUDERS))
        tokens[at] = intruder + (tokens[at] if kind == "insert" else "")
    return "".join(tokens)
