"""The walk over the layers against slim's figures, and laws that every plan obeys."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from mnv2search.cost import cost_of
from mnv2search.errors import SpecError
from mnv2search.spec.catalog import entry
from mnv2search.spec.geometry import make_divisible, split_channels
from mnv2search.spec.model_spec import BlockSpec, Classifier, ModelSpec, Stem
from mnv2search.spec.plan import Layer, Plan, plan
from mnv2search.spec.rows import Padding
from mnv2search.testing.strategies import specs

relaxed = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much], deadline=None)
# Source of the golden figures: tensorflow/models@1001596, mobilenet_v2_test.py, where not said otherwise.
SLIM = entry("mobilenet_v2_1.0_224").spec


def with_rows(spec: ModelSpec, **values: Any) -> ModelSpec:
    return replace(spec, blocks=tuple(replace(block, **values) for block in spec.blocks))


def dense(laid_out: Plan) -> list[Layer]:
    return [layer for unit in laid_out.units for layer in unit.layers if layer.role != "depthwise"]


@pytest.mark.parametrize(
    ("value", "rounded"),
    [
        (11.2, 16),
        (5.6, 8),
        (8.4, 8),
        (12, 16),
        (18, 24),
        (22.4, 24),
        (33.6, 32),
        (41.6, 40),
        (89.6, 88),
        (134.4, 136),
    ],
)
def test_channels_round_to_multiples_of_eight(value: float, rounded: int) -> None:
    assert make_divisible(value, 8) == rounded


@given(st.floats(0.01, 10_000), st.integers(1, 64), st.integers(1, 64))
def test_rounding_obeys_its_definition(value: float, divisor: int, minimum: int) -> None:
    rounded = make_divisible(value, divisor, minimum)
    assert rounded >= 0.9 * value
    assert rounded >= minimum
    assert rounded % divisor == 0 or rounded in (minimum, minimum + divisor)


@given(st.integers(1, 1000))
def test_a_divisor_of_one_is_plain_rounding(tenths: int) -> None:
    assert make_divisible(tenths / 10, 1, 1) in (max(1, int(tenths / 10 + 0.5)), max(1, int(tenths / 10 + 0.5)) + 1)


@pytest.mark.parametrize(
    ("total", "ways", "parts"),
    [(24, 2, (16, 8)), (40, 3, (16, 16, 8)), (24, 3, (8, 8, 8)), (160, 3, (56, 56, 48)), (56, 2, (32, 24))],
)
def test_splits_are_slims(total: int, ways: int, parts: tuple[int, ...]) -> None:
    assert split_channels(total, ways, 8) == parts


@given(st.integers(1, 64), st.integers(1, 8), st.sampled_from([1, 4, 8]))
def test_parts_of_a_split_sum_to_the_whole(parts: int, ways: int, divisor: int) -> None:
    assume(parts >= ways)
    found = split_channels(parts * divisor, ways, divisor)
    assert (sum(found), len(found)) == (parts * divisor, ways)
    assert all(part > 0 and part % divisor == 0 for part in found)


def test_width_one_has_36_dense_convolutions() -> None:
    assert len(dense(plan(SLIM))) == 36


def test_split_expansion_makes_52_dense_convolutions() -> None:
    assert sum(max(1, len(layer.parts)) for layer in dense(plan(with_rows(SLIM, split_expansion=2)))) == 52


@pytest.mark.parametrize(
    ("expansion", "projection", "weights"),
    [(1, 1, 2_189_760), (2, 1, 1_813_824), (1, 2, 1_708_160), (2, 2, 1_332_224)],
)
def test_weights_of_split_networks(expansion: int, projection: int, weights: int) -> None:
    spec = with_rows(SLIM, split_expansion=expansion, split_projection=projection)
    assert sum(layer.weights for unit in plan(spec).features for layer in unit.layers) == weights


@pytest.mark.parametrize(
    ("spec", "widths"),
    [
        pytest.param(
            replace(SLIM, channel_divisor=16, min_channels=32),
            {32, 64, 96, 160, 192, 320, 384, 576, 960, 1001, 1280},
            id="divisible by 16, at least 32",
        ),
        pytest.param(
            replace(SLIM, width=0.1, min_channels=32, keep_last="never"),
            {32, 128, 192, 1001},
            id="width 0.1, at least 32",
        ),
        pytest.param(replace(SLIM, width=0.01), {8, 48, 1001, 1280}, id="width 0.01, last kept"),
    ],
)
def test_widths_of_dense_convolutions(spec: ModelSpec, widths: set[int]) -> None:
    assert {layer.c_out for layer in dense(plan(spec))} == widths


@pytest.mark.parametrize(("resolution", "side"), [(224, 7), (192, 6), (160, 5), (128, 4), (96, 3)])
def test_the_side_of_layer_18(resolution: int, side: int) -> None:
    assert plan(replace(SLIM, resolution=resolution)).units[17].size_out == (side, side)


@pytest.mark.parametrize(
    ("width", "madds", "params"),
    [(0.35, 53_888_240, 738_313), (0.5, 91_474_880, 1_208_377), (0.75, 204_987_552, 2_213_945)],
)
def test_costs_where_the_last_convolution_is_scaled(width: float, madds: int, params: int) -> None:
    cost = cost_of(replace(SLIM, width=width, keep_last="never"))
    assert (cost.madds, cost.params_no_bn) == (madds, params)


# Source: tensorflow/models, mobilenet.py, `mobilenet_base`: (layers with stride 1 for 2, first layer and dilation).
@pytest.mark.parametrize(
    ("target", "converted", "dilations", "side"),
    [
        (None, [], {2: 1, 18: 1}, 7),
        (32, [], {2: 1, 18: 1}, 7),
        (16, [15], {14: 1, 15: 1, 16: 2, 18: 2}, 14),
        (8, [8, 15], {7: 1, 8: 1, 9: 2, 15: 2, 16: 4, 18: 4}, 28),
        (4, [5, 8, 15], {4: 1, 5: 1, 6: 2, 8: 2, 9: 4, 15: 4, 16: 8, 18: 8}, 56),
    ],
)
def test_output_stride_turns_strides_into_dilation(
    target: int | None, converted: list[int], dilations: dict[int, int], side: int
) -> None:
    units, nominal = plan(replace(SLIM, output_stride=target)).units, plan(SLIM).units
    assert [i for i in range(1, 20) if units[i - 1].stride != nominal[i - 1].stride] == converted
    depthwise = {i: next(x.dilation for x in units[i - 1].layers if x.role == "depthwise") for i in dilations}
    assert depthwise == dilations
    assert units[18].size_out == (side, side)


@pytest.mark.parametrize(
    ("side", "padding", "pad"),
    [
        (224, "same", (0, 1)),
        (225, "same", (1, 1)),
        (224, "symmetric", (1, 1)),
        (225, "symmetric", (1, 1)),
        (224, "valid", (0, 0)),
    ],
)
def test_pads_of_a_strided_convolution(side: int, padding: Padding, pad: tuple[int, int]) -> None:
    spec = ModelSpec(name="p", blocks=(BlockSpec(channels=8, residual="off"),), resolution=side, padding=padding)
    assert plan(spec).units[0].layers[0].pad == (*pad, *pad)


def test_rows_and_columns_are_padded_on_their_own() -> None:
    spec = ModelSpec(name="p", blocks=(BlockSpec(channels=8),), resolution=(224, 225), padding="same")
    stem = plan(spec).units[0].layers[0]
    assert (stem.pad, stem.size_out) == ((0, 1, 1, 1), (112, 113))


def test_expansion_follows_the_input_width() -> None:
    hidden = [u.layers[0].c_out for u in plan(SLIM).units[2:18]]
    assert hidden == [96, 144, 144, 192, 192, 192, 384, 384, 384, 384, 576, 576, 576, 960, 960, 960]


def test_endpoints_are_slims() -> None:
    names = plan(SLIM).endpoints()
    assert {"layer_1", "layer_15/expansion_output", "layer_18/depthwise_output", "layer_19"} <= set(names)
    assert "layer_2/expansion_output" not in names


def test_shortcuts_of_mobilenet_v2() -> None:
    shortcuts = [i for i, unit in enumerate(plan(SLIM).units, start=1) if unit.shortcut != "none"]
    assert shortcuts == [4, 6, 7, 9, 10, 11, 13, 14, 16, 17]


@pytest.mark.parametrize(
    ("block", "shortcut"),
    [
        pytest.param(BlockSpec(channels=32), "identity", id="stride 1, equal widths"),
        pytest.param(BlockSpec(channels=32, stride=2), "none", id="stride 2"),
        pytest.param(BlockSpec(channels=40), "none", id="other width"),
        pytest.param(BlockSpec(channels=32, residual="off"), "none", id="off"),
        pytest.param(BlockSpec(channels=40, stride=2, residual="pad"), "pad", id="pad"),
        pytest.param(BlockSpec(channels=32, residual="pad"), "identity", id="pad where nothing is to pad"),
        pytest.param(BlockSpec(channels=24, residual="pad"), "none", id="pad to fewer channels"),
    ],
)
def test_a_shortcut_stands_where_stride_and_widths_allow(block: BlockSpec, shortcut: str) -> None:
    assert plan(ModelSpec(name="s", blocks=(block,), resolution=32)).units[1].shortcut == shortcut


def test_a_converted_stride_gains_a_shortcut() -> None:
    spec = ModelSpec(name="s", blocks=(BlockSpec(channels=32, stride=2),), output_stride=2)
    assert plan(spec).units[1].shortcut == "identity"


@relaxed
@given(specs())
def test_layers_join(spec: ModelSpec) -> None:
    units = plan(spec).units
    assert [(u.c_in, u.size_in) for u in units[1:]] == [(u.c_out, u.size_out) for u in units[:-1]]


@relaxed
@given(specs())
def test_every_unit_has_an_address(spec: ModelSpec) -> None:
    laid_out = plan(spec)
    assert len(laid_out.at) == len(laid_out.units)
    assert set(laid_out.at) <= {"stem", "last_channels", "head", *(f"blocks[{i}]" for i in range(len(spec.blocks)))}


def wider(spec: ModelSpec) -> ModelSpec:
    return replace(spec, width=spec.width * 1.5, keep_last="never")


def larger(spec: ModelSpec) -> ModelSpec:
    return replace(spec, resolution=(spec.size.height + 7, spec.size.width + 8))


def deeper(spec: ModelSpec) -> ModelSpec:
    return with_rows(spec, repeats=4)


def more_expanded(spec: ModelSpec) -> ModelSpec:
    return with_rows(spec, expansion=7)


GROWN = pytest.mark.parametrize("grow", [wider, larger, deeper, more_expanded])


@GROWN
@relaxed
@given(spec=specs(is_plain=True))
def test_more_never_costs_less(grow: Callable[[ModelSpec], ModelSpec], spec: ModelSpec) -> None:
    spec = replace(spec, keep_last="never")
    more, less = cost_of(grow(spec)), cost_of(spec)
    assert more.params >= less.params
    assert more.params_no_bn >= less.params_no_bn
    assert more.madds >= less.madds


@GROWN
@relaxed
@given(spec=specs(is_plain=True))
def test_more_never_needs_less_memory_without_shortcuts(
    grow: Callable[[ModelSpec], ModelSpec], spec: ModelSpec
) -> None:
    """With shortcuts it may: widths that grow apart lose the shortcut that had to be kept alive."""
    spec = with_rows(replace(spec, keep_last="never"), residual="off")
    assert cost_of(grow(spec)).peak_activation_bytes >= cost_of(spec).peak_activation_bytes


def test_a_valid_padding_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(SpecError, match="padding valid leaves nothing"):
        ModelSpec(name="v", blocks=(BlockSpec(channels=8, kernel=7),), resolution=8, padding="valid")


def test_a_residual_over_a_shrunken_map_is_refused() -> None:
    with pytest.raises(SpecError, match="the input cannot be added"):
        ModelSpec(name="v", blocks=(BlockSpec(channels=32),), resolution=32, padding="valid")


def test_a_feature_extractor_ends_with_the_last_convolution() -> None:
    laid_out = plan(replace(SLIM, head=None))
    assert laid_out.classifier is None
    assert laid_out.units[-1].kind == "last"


def test_the_stem_can_be_kept() -> None:
    spec = replace(SLIM, width=1.4, keep_stem=True, keep_last="always")
    assert [plan(spec).units[i].c_out for i in (0, 18)] == [32, 1280]


def test_the_classifier_has_a_bias_and_no_norm() -> None:
    spec = ModelSpec(name="c", blocks=(BlockSpec(channels=8),), stem=Stem(stride=1), head=Classifier(classes=5))
    unit = plan(spec).classifier
    assert unit is not None
    assert (unit.layers[0].bias, unit.layers[0].normalizer, unit.c_out) == (True, "none", 5)
