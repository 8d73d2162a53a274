"""Heads laid out: the figures that the paper and TensorFlow's code give, and laws that every head obeys."""

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from mnv2search.cost import cost_of, unit_cost
from mnv2search.errors import SpecError
from mnv2search.spec.catalog import entry
from mnv2search.spec.model_spec import BlockSpec, Classifier, DeepLab, ExtraLayer, ModelSpec, SsdLite
from mnv2search.spec.plan import Plan, plan
from mnv2search.spec.size import size_of
from mnv2search.spec.space import Axis, SearchSpace, pick_of, resolve
from mnv2search.spec.yaml.codec import dumps, loads
from mnv2search.testing.strategies import dense_specs

relaxed = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much], deadline=None)
SSDLITE = entry("ssdlite_mobilenet_v2").spec
SSD = entry("ssd_mobilenet_v2").spec
DEEPLAB = entry("deeplabv3_mobilenet_v2").spec
# The rows of Table 2 whose strides, taken away, raise the output stride.
ROWS = (BlockSpec(channels=16, expansion=1), BlockSpec(channels=24, stride=2), BlockSpec(channels=32, stride=2))


def detector(**values: Any) -> ModelSpec:
    head = SsdLite(**{"classes": 80, **values})
    return replace(SSDLITE, head=head)


def segmenter(**values: Any) -> ModelSpec:
    return replace(DEEPLAB, head=DeepLab(**{"classes": 21, **values}))


def maps(laid_out: Plan) -> list[tuple[int, int]]:
    """(channels, side) of every map that boxes are predicted on."""
    return [(unit.c_in, unit.size_in.height) for unit in laid_out.units if unit.kind == "boxes"]


def problems(spec: ModelSpec, **values: Any) -> list[tuple[str, str]]:
    with pytest.raises(SpecError) as caught:
        replace(spec, **values)
    assert all(d.hint for d in caught.value.diagnostics)
    return [(d.at, d.message) for d in caught.value.diagnostics]


# Source: tensorflow/models, feature_map_generators.py and ssd_mobilenet_v2_feature_extractor.py.
@pytest.mark.parametrize(("resolution", "sides"), [(300, [19, 10, 5, 3, 2, 1]), (320, [20, 10, 5, 3, 2, 1])])
def test_the_maps_are_tensorflows(resolution: int, sides: list[int]) -> None:
    widths = [576, 1280, 512, 256, 256, 128]
    assert maps(plan(replace(SSDLITE, resolution=resolution))) == list(zip(widths, sides, strict=True))


@pytest.mark.parametrize(("resolution", "boxes"), [(300, 1917), (320, 2034)])
def test_so_many_boxes_are_predicted(resolution: int, boxes: int) -> None:
    head = SsdLite()
    sides = [side for _, side in maps(plan(replace(SSDLITE, resolution=resolution)))]
    assert sum(side**2 * head.boxes_per_place(number) for number, side in enumerate(sides)) == boxes


# Source: arXiv 1801.04381, Table 5: 2.1 M and 14.8 M params; its 0.35 B counts two operations a multiply-add.
@pytest.mark.parametrize(
    ("spec", "params", "madds"),
    [
        pytest.param(SSDLITE, 2_096_501, 177_617_344, id="SSDLite"),
        pytest.param(SSD, 14_773_173, 1_259_068_672, id="SSD"),
    ],
)
def test_the_layers_of_the_detector_alone(spec: ModelSpec, params: int, madds: int) -> None:
    costs = [unit_cost(unit) for unit in plan(spec).dense]
    assert (sum(c.params_no_bn for c in costs), sum(c.madds for c in costs)) == (params, madds)


@pytest.mark.parametrize(("resolution", "madds"), [(320, 611_212_800), (300, 563_125_744)])
def test_the_backbone_of_the_detector_alone(resolution: int, madds: int) -> None:
    costs = [unit_cost(unit) for unit in plan(replace(SSDLITE, resolution=resolution)).features]
    assert (sum(c.params_no_bn for c in costs), sum(c.madds for c in costs)) == (2_189_760, madds)


def test_91_slots_at_320_px() -> None:
    cost = cost_of(detector(classes=90))
    assert (cost.params_no_bn, cost.params, cost.madds) == (4_449_791, 4_500_543, 804_397_504)


def test_the_least_channels_of_a_detector_reach_its_backbone() -> None:
    narrow = plan(replace(SSDLITE, width=0.25))
    assert min(layer.c_out for unit in narrow.features for layer in unit.layers) == 16
    own = plan(replace(SSDLITE, width=0.25, min_channels=8))
    assert min(layer.c_out for unit in own.features for layer in unit.layers) == 8


@pytest.mark.parametrize(
    ("width", "depths"), [(1.0, [512, 256, 256, 128]), (0.35, [179, 89, 89, 44]), (0.1, [51, 25, 25, 16])]
)
def test_extra_depths_are_cut_off_and_not_rounded(width: float, depths: list[int]) -> None:
    assert [unit.c_out for unit in plan(replace(SSDLITE, width=width)).units if unit.kind == "extra"] == depths


def test_half_the_depth_of_an_extra_layer_comes_first() -> None:
    extras = [unit for unit in plan(replace(SSDLITE, width=0.35)).units if unit.kind == "extra"]
    assert [[layer.c_out for layer in unit.layers] for unit in extras[:2]] == [[89, 89, 179], [44, 44, 89]]


def test_a_full_extra_layer_of_equal_widths_is_no_depthwise() -> None:
    spec = replace(detector(depthwise_extras=False, min_channels=512), width=0.5)
    spatial = [
        layer for unit in plan(spec).units if unit.kind == "extra" for layer in unit.layers if layer.kernel == 3
    ]
    assert {layer.groups for layer in spatial} == {1}
    assert any(layer.c_in == layer.c_out for layer in spatial)


@pytest.mark.parametrize(
    ("rows", "tap", "channels", "side"),
    [
        pytest.param(ROWS, "layer_4/expansion_output", 144, 16, id="expanded"),
        pytest.param((*ROWS[:2], BlockSpec(channels=32, stride=2, expansion=1)), "layer_3", 24, 16, id="unexpanded"),
        pytest.param((*ROWS[:2], BlockSpec(channels=32, stride=2, operator="fused")), "layer_3", 24, 16, id="fused"),
        pytest.param((*ROWS, BlockSpec(channels=32, repeats=3)), "layer_4/expansion_output", 144, 16, id="followed"),
    ],
)
def test_what_the_last_strided_convolution_reads(
    rows: tuple[BlockSpec, ...], tap: str, channels: int, side: int
) -> None:
    laid_out = plan(replace(SSDLITE, blocks=rows, resolution=64))
    first = next(unit for unit in laid_out.units if unit.kind == "boxes")
    assert (first.reads, first.c_in, first.size_in) == ((tap,), channels, (side, side))
    assert tap in laid_out.endpoints()


@pytest.mark.parametrize(
    ("rows", "head", "at", "message"),
    [
        pytest.param(ROWS[:1], SsdLite(), "head.taps[0]", "before_last_stride has no endpoint", id="no stride"),
        pytest.param(ROWS, SsdLite(taps=("layer_9",)), "head.taps[0]", "there is no endpoint layer_9", id="no layer"),
        pytest.param(
            ROWS,
            SsdLite(taps=("last", "layer_2/expansion_output")),
            "head.taps[1]",
            "there is no endpoint layer_2/expansion_output",
            id="no expansion",
        ),
        pytest.param(
            ROWS, DeepLab(decoder_stride=16), "head.decoder_stride", "decoder_stride is 16, but no block", id="coarse"
        ),
        pytest.param(
            ROWS, DeepLab(decoder_stride=8), "head.decoder_stride", "which the final map has already", id="no finer"
        ),
        pytest.param(
            ROWS,
            DeepLab(decoder_stride=2, decoder_tap="layer_3"),
            "head.decoder_stride",
            "decoder_stride is 2, but layer_3 has 16 px of 64",
            id="tap of another stride",
        ),
    ],
)
def test_a_head_that_the_network_cannot_bear_is_refused(
    rows: tuple[BlockSpec, ...], head: SsdLite | DeepLab, at: str, message: str
) -> None:
    (found,) = problems(replace(SSDLITE, head=None, resolution=64), blocks=rows, head=head)
    assert found[0] == at
    assert message in found[1]


def test_a_detector_needs_33_px() -> None:
    assert problems(SSDLITE, resolution=32) == [("resolution", "resolution is 32, but head is ssdlite")]


# Source: tensorflow/models, deeplab/core/feature_extractor.py @965cc3e, `networks_to_feature_maps`.
@pytest.mark.parametrize(
    ("stride", "tap"),
    [(4, "layer_4/depthwise_output"), (8, "layer_7/depthwise_output"), (2, "layer_2/depthwise_output")],
)
@pytest.mark.parametrize("output_stride", [16, 32])
def test_the_decoder_reads_what_deeplab_reads(stride: int, tap: str, output_stride: int) -> None:
    laid_out = plan(replace(segmenter(decoder_stride=stride), output_stride=output_stride))
    (unit,) = [unit for unit in laid_out.units if unit.kind == "tap"]
    assert (unit.reads, unit.size_out) == ((tap,), size_of(512 // stride + 1))


def test_the_decoder_of_stride_16_reads_layer_14() -> None:
    laid_out = plan(replace(DEEPLAB, head=DeepLab(decoder_stride=16), output_stride=32))
    assert [unit.reads for unit in laid_out.units if unit.kind == "tap"] == [("layer_14/depthwise_output",)]


def test_the_decoder_joins_48_channels_to_256() -> None:
    (unit,) = [unit for unit in plan(segmenter(decoder_stride=4)).units if unit.kind == "decoder"]
    assert [(layer.c_in, layer.c_out, layer.kernel) for layer in unit.layers] == [
        (304, 304, 3),
        (304, 256, 1),
        (256, 256, 3),
        (256, 256, 1),
    ]


# Source: tensorflow/models, mobilenet.py, `mobilenet_base`: the first converted layer keeps the rate before it.
@pytest.mark.parametrize(
    ("output_stride", "rates"),
    [(16, {15: 1, 16: 2, 18: 2}), (8, {8: 1, 9: 2, 15: 2, 16: 4, 18: 4})],
)
def test_dilation_of_the_backbone(output_stride: int, rates: dict[int, int]) -> None:
    features = plan(replace(DEEPLAB, output_stride=output_stride)).features
    found = {number: max(layer.dilation for layer in features[number - 1].layers) for number in rates}
    assert (found, features[-1].size_out) == (rates, size_of(512 // output_stride + 1))


def test_published_multiply_adds_of_cityscapes() -> None:
    """Source: deeplab/g3doc/model_zoo.md: 21.27 B, which counts what dilation costs TensorFlow too."""
    cityscapes = entry("deeplabv3_mobilenet_v2_cityscapes")
    cost = cost_of(cityscapes.spec)
    assert (str(cityscapes.spec.size), cost.madds) == ("1025 x 2049", 21_233_054_912)
    assert math.isclose(cost.madds, 21.27e9, rel_tol=5e-3)


def test_published_multiply_adds_of_cityscapes_over_three_scales_and_flips() -> None:
    """Source: deeplab/g3doc/model_zoo.md: 433.24 B, which counts what dilation costs TensorFlow too."""
    sizes = [(1024 * quarter // 4 + 1, 2048 * quarter // 4 + 1) for quarter in (3, 4, 5)]
    at_8 = replace(entry("deeplabv3_mobilenet_v2_cityscapes").spec, output_stride=8)
    total = 2 * sum(cost_of(replace(at_8, resolution=size)).madds for size in sizes)
    assert math.isclose(total, 433.24e9, rel_tol=5e-3)


def test_published_multiply_adds_over_six_scales_and_flips() -> None:
    """Source: deeplab/g3doc/model_zoo.md: 152.59 B, which counts what dilation costs TensorFlow too."""
    sides = [int(512 * quarter / 4 + 1) for quarter in range(2, 8)]
    at_8 = replace(DEEPLAB, output_stride=8)
    total = 2 * sum(cost_of(replace(at_8, resolution=side)).madds for side in sides)
    assert math.isclose(total, 152.33e9, rel_tol=1e-4)
    assert math.isclose(total, 152.59e9, rel_tol=5e-3)


def test_512_px_count_less_than_the_published_513() -> None:
    assert round(cost_of(replace(DEEPLAB, resolution=512)).madds / 1e9, 3) == 2.604


def test_half_width_rounds_to_whole_channels() -> None:
    features = plan(entry("deeplabv3_mobilenet_v2_0.5").spec).features
    assert [unit.c_out for unit in features[2:4]] == [12, 12]
    assert features[3].layers[0].c_out == 72


def test_the_head_has_a_batch_norm_of_its_own() -> None:
    laid_out = plan(DEEPLAB)
    assert {laid_out.norm_of(unit).eps for unit in laid_out.features} == {1e-3}
    assert {laid_out.norm_of(unit).eps for unit in laid_out.dense} == {1e-5}


def test_what_waits_for_the_head_takes_memory() -> None:
    tapped, plain = (cost_of(detector(classes=1, taps=taps)) for taps in (("layer_1", "last"), ("last",)))
    assert tapped.peak_activation_bytes - plain.peak_activation_bytes == 160**2 * 32 * 4


def test_the_enlarged_answer_takes_memory() -> None:
    assert cost_of(segmenter(classes=64)).peak_activation_bytes == (513**2 + 33**2) * 64 * 4


@relaxed
@given(dense_specs())
def test_what_a_unit_reads_is_there_before_it(spec: ModelSpec) -> None:
    laid_out = plan(spec)
    known = set(laid_out.endpoints()) - {unit.name for unit in laid_out.dense}
    for unit in laid_out.dense:
        assert set(unit.reads) <= known
        known.add(unit.name)


@relaxed
@given(dense_specs())
def test_a_dense_network_survives_its_text(spec: ModelSpec) -> None:
    assert loads(dumps(spec)) == spec
    assert dumps(loads(dumps(spec))) == dumps(spec)


@relaxed
@given(dense_specs())
def test_channels_meet_from_layer_to_layer(spec: ModelSpec) -> None:
    for unit in plan(spec).dense:
        pairs = zip(unit.layers, unit.layers[1:], strict=False)
        assert all(a.c_out == b.c_in and a.size_out == b.size_in for a, b in pairs)


def test_a_bare_word_is_a_head_of_defaults() -> None:
    text = "mnv2search: 1\nname: one\nblocks: [{c: 24, s: 2}]\nhead: "
    values = [loads(f"{text}{word}\n") for word in ("ssdlite", "deeplab", "classifier", "none")]
    assert [getattr(value, "head", ...) for value in values] == [SsdLite(), DeepLab(), Classifier(), None]


def test_bare_numbers_are_extra_layers() -> None:
    text = "mnv2search: 1\nname: one\nblocks: [{c: 24, s: 2}]\nhead: {kind: ssdlite, extras: [64, {c: 32}]}\n"
    value = loads(text)
    assert isinstance(value, ModelSpec)
    assert value.head == SsdLite(extras=(ExtraLayer(channels=64), ExtraLayer(channels=32)))


def test_a_head_can_be_searched() -> None:
    axes = (
        Axis(at="head.extras[1].channels", options=(256, 128)),
        Axis(at="output_stride", options=(32, 16)),
        Axis(at="head.depthwise_extras", options=(True, False)),
    )
    space = SearchSpace(template=replace(SSDLITE, output_stride=32), axes=axes)
    assert [axis.at for axis in space.axes] == ["head.depthwise_extras", "head.extras[1].channels", "output_stride"]
    chosen = resolve(space, (1, 1, 1))
    assert isinstance(chosen.head, SsdLite)
    assert [extra.channels for extra in chosen.head.extras] == [512, 128, 256, 128]
    assert (chosen.head.depthwise_extras, chosen.output_stride) == (False, 16)
    assert pick_of(space, chosen) == (1, 1, 1)
    assert loads(dumps(space)) == space


@pytest.mark.parametrize("at", ["head.extras[4].channels", "head.dropout", "head.decoder_stride"])
def test_a_choice_of_what_the_head_lacks_is_refused(at: str) -> None:
    with pytest.raises(SpecError, match="but head is ssdlite"):
        SearchSpace(template=SSDLITE, axes=(Axis(at=at, options=(2, 4)),))


@pytest.mark.parametrize("at", ["head.taps", "head.ratios", "head.extras"])
def test_a_list_is_no_place_for_a_choice(at: str) -> None:
    with pytest.raises(SpecError, match="is not a place for a choice"):
        SearchSpace(template=SSDLITE, axes=(Axis(at=at, options=(2, 4)),))
